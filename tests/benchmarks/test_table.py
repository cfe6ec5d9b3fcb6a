"""A benchmark's file keeps every row, whoever writes it, and says what it does not hold."""

from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import starts, time_to_quality, vocabularies
from benchmarks.table import Table, make_parser, numbers
from tests.fixtures.refused import refused
from tests.fixtures.workspace import ROOT

KEYS = ("task", "seed")


OF = {"system": "closed_form_mini", "precision": "fp32"}


def given(*files: Path, show: bool = False, **of: str) -> Namespace:
    options = ["--show"] if show else []
    options += [word for name, value in of.items() for word in (f"--{name}", value)]
    return make_parser("starts").parse_args([*options, "--table", *map(str, files)])


def scores(file: Path, *rows: tuple[str, int, float], **of: str) -> Path:
    pd.DataFrame(rows, columns=[*KEYS, "score"]).assign(**OF | of).to_csv(file, index=False)
    return file


def test_a_row_is_there_for_the_next_run_and_not_asked_for_again(tmp_path, capsys):
    table = Table(KEYS, given(tmp_path / "new/a.csv"))
    assert table.missing([("mrpc", 1), ("mrpc", 2)]) == [("mrpc", 1), ("mrpc", 2)]
    table.add(("mrpc", 2), score=0.5)
    assert capsys.readouterr().out == "starts: 1 of 2: task mrpc, seed 2, score 0.5\n"
    again = Table(KEYS, given(tmp_path / "new/a.csv"))
    assert again.missing([("mrpc", 1), ("mrpc", 2)]) == [("mrpc", 1)]
    assert again.found().to_dict("records") == [{**OF, "task": "mrpc", "seed": 2, "score": 0.5}]


def test_two_processes_lose_no_row_of_one_file(tmp_path):
    one, two = (Table(KEYS, given(tmp_path / "a.csv")) for _ in range(2))
    for table, seed in ((one, 1), (two, 2), (one, 3)):
        table.add(("mrpc", seed), score=seed / 10)
    assert one.found()["seed"].tolist() == [1, 2, 3]
    two.add(("mrpc", 1), score=0.9)  # of the other's: the first counts
    assert two.found()["score"].tolist() == [0.1, 0.2, 0.3]


def test_several_files_are_shown_as_one_and_a_row_of_both_counts_once(tmp_path):
    a = scores(tmp_path / "a.csv", ("mrpc", 1, 0.8), ("mrpc", 2, 0.7))
    b = scores(tmp_path / "b.csv", ("mrpc", 2, 0.7), ("sst2", 1, 0.9))
    shown = Table(KEYS, given(a, b, show=True))
    assert shown.found()["score"].tolist() == [0.8, 0.7, 0.9]
    assert shown.missing([("rte", 1)]) == []
    line = refused(Table, KEYS, given(a, b))
    assert line == "--table: rows are written to one file, got 2; name one, or add --show"


@pytest.mark.parametrize(("name", "other"), [("system", "tinybert_mini"), ("precision", "bf16")])
def test_rows_of_another_system_or_precision_are_not_taken_for_these(tmp_path, name, other):
    file = scores(tmp_path / "a.csv", ("mrpc", 1, 0.8))
    table = Table(KEYS, given(tmp_path / "b.csv", **{name: other}))
    table.add(("mrpc", 1), score=0.7)
    line = refused(Table, KEYS, given(file, **{name: other}))
    assert line == f"{file}: its rows are of {name} {OF[name]}, got {other}; name another --table"
    assert Table(KEYS, given(file, show=True, **{name: other})).found()["score"].tolist() == [0.8]
    line = refused(Table, KEYS, given(file, tmp_path / "b.csv", show=True))
    assert line == (
        f"--table: rows of one {name} are shown, got {OF[name]}, {other}; name files of one"
    )


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "", "\udcff\n"])
def test_another_file_is_refused_before_anything_is_computed(tmp_path, content):
    file = tmp_path / "other.csv"
    file.write_text(content, encoding="utf-8", errors="surrogateescape")
    line = refused(Table, KEYS, given(file))
    assert line.startswith(f"{file}: no table of starts, got columns ")
    assert line.endswith("it needs system, precision, task, seed: name another file")
    assert refused(Table, KEYS, given(tmp_path)).startswith(f"{tmp_path}: no table of starts")


def test_nothing_to_show_is_one_line(tmp_path):
    file = tmp_path / "none.csv"
    table = Table(KEYS, given(file, show=True))
    expected = f"--table: no row to show, got none in {file}; measure some first"
    assert refused(table.found) == expected


def test_numbers_and_formats_of_a_command_line_are_read_or_refused(capsys):
    assert numbers("42, 43 44") == [42, 43, 44]
    assert make_parser("starts").parse_args([]).precision == "fp32"
    with pytest.raises(SystemExit):
        make_parser("starts").parse_args(["--precision", "fp16"])
    assert "choose from" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # a whole choice of its own would be told the wrong thing
        make_parser("time_to_quality", precision=None).parse_args(["--precision", "bf16"])


CELL = {"task": "mrpc", "start": "task", "general": 0, "phase": "task", "method": "ours"}
SIZES = {"pieces": 2000, "parameters": 1e6, "tokens": 9.0, "seconds": 60.0, "gigabytes": 1.0}


@pytest.mark.parametrize(
    ("benchmark", "arguments"),
    [(starts, []), (vocabularies, ["--tasks", "mrpc"]), (time_to_quality, ["--task", "mrpc"])],
)
def test_a_benchmark_shows_what_its_processes_wrote(
    tmp_path, monkeypatch, capsys, benchmark, arguments
):
    monkeypatch.chdir(ROOT)
    for seed, score in ((1, 0.6), (2, 0.8)):
        row = (
            OF
            | CELL
            | SIZES
            | {"seed": seed, "steps": 10, "cut": 0.5, "score": score, "quality": score}
        )
        pd.DataFrame([row]).to_csv(tmp_path / f"{seed}.csv", index=False)
    files = [str(tmp_path / "1.csv"), str(tmp_path / "2.csv")]
    benchmark.main([*arguments, "--show", "--table", *files])
    shown = capsys.readouterr().out
    # The mean of two seeds, or a line for each.
    assert "70" in shown or ("0.6" in shown and "0.8" in shown)


@pytest.mark.parametrize("text", ["-1", "0,-5", "many"])
def test_a_number_below_0_is_none_to_count_with(text):
    with pytest.raises(ValueError):
        numbers(text)
