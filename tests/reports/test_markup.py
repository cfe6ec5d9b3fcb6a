"""A user's text keeps its characters in every format, and none of them does anything."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from tests.fixtures.measured import edit_json, facts, put_json, report_of, write_run
from tinybert.reports.markup import code, markdown, tex
from tinybert.reports.model_card import render

LABELS = [
    "<script>alert(1)</script>",
    "a|b*c*_d_`e`",
    "_%&#$~^\\{}",
    "[red]x[/] [link](http://a.b)",
    "=1+1",
    "yes: no # x",
    "\N{GRINNING FACE} \N{HEBREW LETTER ALEF} \u65e5\u672c",
    "long " * 40 + "end",
    "$\\frac{$",
    "```",
    "````yaml",
]
BROKEN = ["two\nlines\r\n\n# more", "nul \x00 \x1b[31m", "half \ud83d a pair", "\u202eturned round"]


@pytest.mark.parametrize("text", LABELS)
def test_markdown_shows_the_text_itself(text):
    shown = MarkdownIt("commonmark").enable("table")
    table = f"| a | b |\n|---|---|\n| {markdown(text)} | {code(text.replace('|', '/'))} |\n"
    html = shown.render(table)
    assert html.count("<td>") == 2 and "<script" not in html
    tokens = shown.parse(table)
    cells = [token for token in tokens if token.type == "inline"][2:]
    written = ["".join(child.content for child in cell.children) for cell in cells]
    assert written == [" ".join(text.split()), " ".join(text.replace("|", "/").split())]


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("escape", [markdown, code, tex])
def test_what_cannot_be_printed_stays_on_one_line_and_can_be_written(escape, text):
    assert escape(text).encode("utf-8").decode().isprintable()


def test_latex_gets_no_command_of_a_name():
    assert tex("a_b&c") == r"a\_b\&c"
    assert tex("[2em] <x>|") == r"{[}2em] \textless{}x\textgreater{}\textbar{}"
    assert tex("1 \N{PLUS-MINUS SIGN} 2 \N{EN DASH}") == r"1 \ensuremath{\pm} 2 --"


def test_a_card_with_strange_labels_is_read_by_the_hub():
    names = [*LABELS, *BROKEN]
    info = facts().info.model_copy(update={"labels": names, "name": "yes"})
    file = facts().task_file.model_copy(update={"description": "a <b>\n---\nx: |y|"})
    system = {**facts().system_file, "description": "a\n```\n# heading\n````\nb " + "c " * 90}
    text = render(facts(info=info, task_file=file, system_file=system))
    card = ModelCard(text.encode("utf-8", "backslashreplace").decode())
    assert card.data.model_name == "tinybert4-yes"
    assert {each.dataset_name for each in card.data.eval_results} == {"yes"}
    assert yaml.safe_load(text.split("---\n")[1])["model-index"]
    blocks = [token.info for token in MarkdownIt("commonmark").parse(text) if token.type == "fence"]
    assert blocks == ["yaml", "yaml", "python"]  # which no text ends
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert "# heading" not in headings
    assert all(code(name) in text for name in names)


def test_a_card_of_many_classes_lists_the_first_ones():
    info = facts().info.model_copy(update={"labels": [f"class_{n:03}" for n in range(150)]})
    text = render(facts(info=info))
    assert "one of 150 labels" in text and "`class_019`, ... (all in" in text
    assert "class_020" not in text


def test_a_page_with_strange_labels_and_samples_is_written(tmp_path):
    data, reports = write_run(tmp_path)
    names = [*LABELS, *BROKEN]
    edit_json(data / "tasks/rte/task.json", labels=names)
    for file in (reports / "metrics").rglob("rte.json"):
        edit_json(file, labels=names, confusion={"dev": [[1] * len(names)] * len(names)})
    samples = [{"original": None, "copies": [["a", None], "\ud800 <script>"]}]
    put_json(data / "augmented/rte/augmentation.json", {"samples": samples})
    report_of(tmp_path)
    text = (reports / "index.html").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\u0000" in text and "\\u001b[31m" in text and "\\u202e" in text
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text and "\\ud83d" in text


def test_a_dollar_in_a_name_is_no_formula_in_a_figure(tmp_path):
    _, reports = write_run(tmp_path)
    for file in (reports / "latency/tinybert4.json", reports / "metrics/tinybert4/rte.json"):
        target = Path(str(file).replace("tinybert4", "$x_$"))
        target.parent.mkdir(exist_ok=True)
        file.rename(target)
    report_of(tmp_path, "$x_$")
    assert (reports / "plots/scores.svg").is_file()


@pytest.mark.parametrize(
    "rows", ["1,1.0\n", "1,nan\n2,nan\n", "1,nan\n2,1.0\n", "1,inf\n2,1.0\n", "1,-2\n2,-3\n"]
)
def test_a_history_of_few_or_no_numbers_is_drawn(rows, tmp_path):
    _, reports = write_run(tmp_path)
    log = reports / "training/intermediate_distill/tinybert4-rte.csv"
    log.write_text("step,loss\n" + rows, encoding="utf-8")
    report_of(tmp_path)
    assert (reports / "plots/loss_intermediate_distill_tinybert4.svg").is_file()
