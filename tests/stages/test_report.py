"""The whole report from a handful of metric files; its page in a browser without network."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.report import compare_with_paper, main, print_summary
from tests.fixtures.measured import edit_json, put_json, put_predictions, report_of, write_run
from tinybert.reports.plots import MOST_POINTS, thinned, training_curves
from tinybert.runtime.errors import InputError

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=2000"),
)
# Put at the end of a copy of the page, which is shown in a frame: windows have a least width.
MEASURE = """<script>
parent.postMessage(JSON.stringify({
  width: document.documentElement.scrollWidth,
  window: window.innerWidth,
  pictures: [...document.images].map(image => image.naturalWidth),
  rows: [...document.querySelectorAll("table")].map(table => table.rows.length),
  sections: [...document.querySelectorAll("h2")].map(heading => heading.id),
  fetched: performance.getEntriesByType("resource").filter(
    entry => !entry.name.startsWith("data:")).map(entry => entry.name),
}), "*");
</script></body>"""
FRAME = """<body><script>
addEventListener("message", event => document.body.setAttribute("data-measured", event.data));
</script><iframe src="{address}" style="width:{width}px;height:800px;border:0"></iframe></body>"""
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects what a browser would load, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    write_run(root)
    report_of(root)
    return root


@pytest.fixture
def page_text(run_folder: Path) -> str:
    return (run_folder / "reports/index.html").read_text(encoding="utf-8")


def test_the_page_loads_nothing_and_is_well_formed(page_text: str):
    page = Page(page_text)
    assert page.open == []
    assert sum(source.startswith("data:image/svg+xml") for source in page.sources) == 4
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert 'name="viewport"' in page_text and "<script" not in page_text


def test_text_of_users_is_shown_and_never_run(page_text: str):
    assert "when a &lt; b" in page_text and "&lt;yes&gt;" in page_text
    assert "<yes>" not in page_text


def test_the_page_has_our_figures_beside_the_published_ones(page_text: str):
    cells = Page(page_text).cells
    assert {"14.35M", "4.0x (3.9-4.2)", "66.7%"} <= set(cells)  # 0.5 / 0.75
    assert {"44.1", "52.8", "mobilebert_tiny"} <= set(cells)  # the paper's CoLA columns
    assert {"17", "19"} <= set(cells)  # the confusion table
    assert "batch size 1, 128 tokens, 2 threads, fp32, cpu (Test CPU)" in page_text


def test_the_page_has_our_rows_right_above_those_they_stand_for(page_text: str):
    rows = [cell for cell in Page(page_text).cells if cell.endswith((", dev)", ", test)"))]
    scores = [
        "teacher (ours, dev)",
        "bert_base (published, test)",
        "tinybert4 (ours, dev)",
        "tinybert4 (published, test)",
        "tinybert4 (published, dev)",
    ]
    assert rows == scores + scores[:4]  # the paper printed no costs beside its dev scores
    assert page_text.count('<tr class="ours">') == 4  # the teacher and the system, no published row
    assert "average of GLUE&#39;s nine" in page_text
    assert "Average of GLUE&#39;s nine: the paper&#39;s rule, the plain mean" in page_text


def test_tables_say_the_same_in_markdown_and_latex(run_folder: Path):
    tables = run_folder / "reports/tables"
    lines = (tables / "results.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("| system | parameters |")
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| teacher", "| tinybert4"]
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[4] == "" and lines[5].startswith("Speed-up of tinybert4")  # else it is a row
    tex = (tables / "results.tex").read_text(encoding="utf-8")
    assert r"tinybert4 & 14.35M & 1.25 & 57.4 & 4.0x (3.9-4.2) & 50.0 & 50.0 & 66.7\% \\" in tex


def test_the_comparison_is_written_three_times(run_folder: Path):
    tables = run_folder / "reports/tables"
    lines = (tables / "comparison.md").read_text(encoding="utf-8").splitlines()
    ours = next(line for line in lines if line.startswith("| tinybert4 (ours, dev)"))
    assert "| 50.0 |" in ours and "\N{EN DASH}" in ours  # RTE, and the columns nobody measured
    assert "\N{EN DASH}" not in (tables / "comparison.csv").read_text(encoding="utf-8")
    tex = (tables / "comparison.tex").read_text(encoding="utf-8")
    assert r"tinybert4 (published, test) & 14.5M & -- & 1.2 & 9.4x & 82.5" in tex


def test_the_table_is_made_from_the_files_alone_and_changes_no_output(run_folder, tmp_path, capsys):
    for name in ("data", "reports"):
        shutil.copytree(run_folder / name, tmp_path / name)
    before = {file: file.stat().st_mtime_ns for file in run_folder.rglob("*") if file.is_file()}
    output = run_folder / "reports/comparison"
    folders = [run_folder / "reports", tmp_path / "reports"]
    assert compare_with_paper(["tinybert4"], ["rte"], folders[:1], output) == 0  # no predictions
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.strip().startswith("tinybert4 (published, test)") for line in lines)
    for kind in ("md", "tex", "csv"):
        written = (output / f"comparison.{kind}").read_bytes()
        assert written == (run_folder / f"reports/tables/comparison.{kind}").read_bytes()
    compare_with_paper(["tinybert4"], ["rte"], folders, output)
    assert "mean and standard deviation of 2 runs" in (output / "comparison.md").read_text()
    after = {file: file.stat().st_mtime_ns for file in run_folder.rglob("*") if file.is_file()}
    assert {file: when for file, when in after.items() if output not in file.parents} == before
    with pytest.raises(InputError, match="no scores, got no metrics of rte"):
        compare_with_paper(["tinybert4"], ["rte"], [run_folder / "elsewhere"], output)
    again = run_folder / "data" / ".." / "reports"
    with pytest.raises(
        InputError, match=r"each run is counted once, got .*reports again; leave it"
    ):
        compare_with_paper(["tinybert4"], ["rte"], [folders[0], again], output)


def test_a_table_with_a_score_that_its_predictions_do_not_give_is_refused(tmp_path):
    data, reports = write_run(tmp_path)
    frame = pd.DataFrame({"sentence1": list("abcd"), "sentence2": list("abcd"), "label": 0})
    frame.to_parquet(data / "tasks/rte/dev.parquet")
    put_predictions(reports / "predictions/tinybert4/rte/dev.tsv", ["<yes>", "no", "no", "no"])
    output = tmp_path / "comparison"
    with pytest.raises(InputError, match=r"gives accuracy 0\.250000, got 0\.500000"):
        compare_with_paper(["tinybert4"], ["rte"], [reports], output)
    assert not output.exists()


def test_figures_are_written_twice_and_an_untrained_phase_has_none(run_folder: Path):
    names = {file.name for file in (run_folder / "reports/plots").iterdir()}
    stems = ["scores", "score_and_latency", "score_and_size"]
    stems.append("loss_intermediate_distill_tinybert4")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}


def test_an_incomplete_submission_is_listed(run_folder: Path, page_text: str):
    folder = run_folder / "reports/submission/tinybert4"
    assert [file.name for file in folder.iterdir()] == ["missing.txt"]
    assert "CoLA.tsv: task CoLA is not among" in (folder / "missing.txt").read_text("utf-8")
    assert "10 problems" in page_text


def test_sections_without_content_are_left_out(tmp_path: Path, page_text: str):
    data, reports = write_run(tmp_path)
    edit_json(data / "tasks/rte/task.json", glue=None)
    for file in reports.glob("metrics/*/rte.json"):
        edit_json(file, confusion={})
    report_of(tmp_path)
    text = (reports / "index.html").read_text(encoding="utf-8")
    links = {"#confusion", "#submission"}
    assert links <= set(Page(page_text).sources) and not links & set(Page(text).sources)
    assert "Confusion" not in text and "GLUE submission" not in text
    assert not any((reports / "submission").iterdir())


def test_the_same_results_give_the_same_bytes(run_folder: Path, tmp_path: Path):
    _, reports = write_run(tmp_path)
    report_of(tmp_path)
    for name in ("index.html", "tables/results.csv", "plots/scores.svg", "plots/scores.png"):
        ours = (reports / name).read_bytes().replace(str(tmp_path).encode(), b"")
        theirs = (run_folder / "reports" / name).read_bytes().replace(str(run_folder).encode(), b"")
        assert ours == theirs, name


def test_nothing_measured_yet_still_gives_a_report(tmp_path: Path, capsys):
    write_run(tmp_path)
    print_summary(report_of(tmp_path, "tinybert6"))
    assert "tinybert6" in capsys.readouterr().out


def test_the_summary_fits_eighty_columns_and_loses_nothing(run_folder: Path, capsys):
    columns = {f"a_rather_long_task_{number}/dev/accuracy": [0.5, 0.25] for number in range(9)}
    print_summary(report_of(run_folder).assign(**columns))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("a_rather_long_task_") for line in lines) == 9
    assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in lines)


def test_show_prints_what_is_there_and_writes_nothing(run_folder: Path, monkeypatch, capsys):
    monkeypatch.chdir(run_folder)
    before = {file: file.stat().st_mtime_ns for file in run_folder.rglob("*")}
    assert "reports/index.html" in main("show")
    assert "tinybert4" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in run_folder.rglob("*")} == before


def test_an_unknown_argument_is_refused():
    with pytest.raises(InputError, match="got 'shwo'; known: show, table, submission"):
        main("shwo")
    with pytest.raises(InputError, match="one system is needed, got 0"):
        main("submission")


def test_a_broken_log_and_broken_samples_are_named(tmp_path: Path):
    data, reports = write_run(tmp_path)
    log = reports / "training/intermediate_distill/tinybert4-rte.csv"
    log.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"tinybert4-rte\.csv: no training log, got columns a, b"):
        training_curves(["tinybert4"], ["rte"], reports / "training")
    log.unlink()
    put_json(data / "augmented/rte/augmentation.json", {"samples": [{"copies": []}]})
    with pytest.raises(InputError, match=r"samples\.0\.original: Field required"):
        report_of(tmp_path)


def test_a_long_curve_is_thinned_to_means_that_keep_its_average():
    points = np.stack([np.arange(3000.0), np.linspace(2, 0, 3000)], axis=1)
    steps, losses = thinned(points)
    assert len(steps) == MOST_POINTS
    # 3000 points in parts of 10: the first part's steps 0..9 have the mean 4.5.
    assert steps[0] == 4.5
    assert losses.mean() == pytest.approx(1.0)
    assert thinned(points[:2]).T.tolist() == points[:2].tolist()


def opened(page_text: str, folder: Path, width: int) -> dict:
    """Open the page in a frame so many pixels wide; return what it measured of itself."""
    page, frame = folder / "measured.html", folder / "frame.html"
    page.write_text(page_text.replace("</body>", MEASURE), encoding="utf-8")
    frame.write_text(FRAME.format(address=page.as_uri(), width=width), encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, profile, "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'data-measured="([^"]*)"', done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `apt-get install chromium`")
@pytest.mark.parametrize("width", [1200, 390])  # on a desk and on a phone
def test_the_page_fits_its_window_and_shows_every_picture_without_fetching(
    page_text, tmp_path, width
):
    measured = opened(page_text, tmp_path, width)
    assert measured["window"] == width
    assert measured["width"] <= width  # wide tables scroll inside themselves
    assert measured["pictures"]
    assert all(natural > 100 for natural in measured["pictures"])
    assert measured["fetched"] == []
    assert {"results", "published", "figures", "latency", "confusion", "augmentation"} <= set(
        measured["sections"]
    )
    assert all(rows >= 2 for rows in measured["rows"])
