"""The groups of ablations: how one becomes experiments, and the table of what they scored."""

import pandas as pd
import pytest

from tests.fixtures.workspace import ROOT, read_yaml, write_yaml
from tinybert.reports.ablation import (
    FULL,
    TABLE,
    as_text,
    build_table,
    group_names,
    plan,
    read_groups,
    write_files,
)
from tinybert.reports.comparison import read_published
from tinybert.reports.results import MISSING, TaskScores
from tinybert.runtime.errors import InputError

PUBLISHED = read_published()[TABLE]
NAMES = ["full", "without_general", "mine"]
ONE = {"description": "one", "overrides": ["params/systems/{system}.yaml:a=1"]}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params/ablations").mkdir(parents=True)

    def write(name, experiments, **more):
        file = tmp_path / f"params/ablations/{name}.yaml"
        write_yaml(file, {"description": name, "experiments": experiments, **more})
        return tmp_path

    return write


def test_the_committed_groups_hold_the_papers_ablations_and_full_comes_once_and_first():
    names = ["layer_maps", "loss_terms", "phases"]
    assert group_names(ROOT) == ["after_closed_form", "attention", "augmentation", *names, "start"]
    planned = plan(read_groups(ROOT, names), "small", "tiny")
    assert [each.name for each in planned] == list(PUBLISHED["rows"])
    assert (planned[0].name, planned[0].groups, planned[0].overrides) == (FULL, tuple(names), ())
    assert all(len(each.groups) == 1 for each in planned[1:])


def test_the_papers_averages_are_those_of_its_columns():
    # Each printed average is the mean of the four figures before it, to a rounding of 0.06.
    for *scores, average in PUBLISHED["rows"].values():
        assert sum(scores) / 4 == pytest.approx(average, abs=0.06)


def test_placeholders_are_filled_and_other_braces_stay(root):
    text = "params/profiles/{profile}.yaml:x={a: 1}"
    folder = root("g", {"one": {"description": "", "overrides": [ONE["overrides"][0], text]}})
    (_, one) = plan(read_groups(folder, ["g"]), "small", "tiny")
    assert one.overrides == (
        "params/systems/small.yaml:a=1",
        "params/profiles/tiny.yaml:x={a: 1}",
    )


def test_an_ablation_of_two_groups_is_planned_once(root):
    root("g", {"own": ONE, "one": ONE})
    groups = read_groups(root("h", {"one": ONE}), ["g", "h"])
    assert [(each.name, each.groups) for each in plan(groups, "s", "p")] == [
        (FULL, ("g", "h")),
        ("own", ("g",)),
        ("one", ("g", "h")),
    ]


def test_one_name_with_two_meanings_is_refused(root):
    root("g", {"one": ONE})
    groups = read_groups(root("h", {"one": {**ONE, "overrides": ["seed=1"]}}), ["g", "h"])
    with pytest.raises(InputError, match=r"h\.yaml: experiments\.one: another group has other"):
        plan(groups, "s", "p")


@pytest.mark.parametrize(
    ("experiments", "said"),
    [
        ({"full": ONE}, "full is in every group by itself"),
        ({"one": {**ONE, "overrides": ["a={sytem}"]}}, "unknown placeholder, got {sytem}; known"),
        ({"one": {**ONE, "overrides": []}}, "experiments.one.overrides"),
        ({"one": {**ONE, "override": []}}, "unknown key, got 'override'"),
        ({"a/b": ONE}, "experiments"),
        ({}, "experiments"),
    ],
)
def test_a_wrong_group_is_refused_with_its_place(root, experiments, said):
    folder = root("g", experiments)
    with pytest.raises(InputError) as refused:
        read_groups(folder, ["g"])
    (line,) = refused.value.problems
    assert line.startswith("params/ablations/g.yaml: ")
    assert said in line


def test_unknown_groups_are_all_named_with_the_known_ones(root):
    with pytest.raises(InputError) as refused:
        read_groups(root("g", {"one": ONE}), ["h", "g", "i"])
    assert refused.value.problems == (
        "groups: unknown, got 'h'; known: g",
        "groups: unknown, got 'i'; known: g",
    )


def test_every_published_row_has_a_figure_for_each_column():
    assert all(len(row) == len(PUBLISHED["columns"]) for row in PUBLISHED["rows"].values())
    whole = read_yaml(ROOT / "tinybert/reports/published.yaml")
    assert whole["ablation_dev"]["rows"] == PUBLISHED["rows"]


@pytest.mark.parametrize("name", ["my.v2", "a@b", "two words", "2024"])
def test_the_name_of_a_group_is_judged_before_anything_runs(root, name):
    folder = root(name, {"one": ONE})
    with pytest.raises(InputError, match=r"params/ablations: wrong name, got .*and write "):
        read_groups(folder, group_names(folder))


def scores(main, **dev):
    return TaskScores(main_metric=main, metrics={"test": {main: 0.0}, **dev})


def glue(matched, mismatched, f1, accuracy):
    return {
        "mnli": scores("accuracy", dev={"accuracy": matched}, dev_mm={"accuracy": mismatched}),
        "mrpc": scores("f1", dev={"f1": f1, "accuracy": accuracy}),
        "sst2": scores("accuracy", dev={"accuracy": 0.5}),
    }


def test_the_papers_tasks_have_its_metrics_and_others_their_own():
    table = build_table(["full"], {"full": glue(0.8, 0.7, 0.9, 0.6)})
    ours = [column for column in table if "/dev" in column]
    mnli = ["mnli/dev/accuracy", "mnli/dev_mm/accuracy"]
    assert ours == [*mnli, "mrpc/dev/accuracy", "sst2/dev/accuracy"]
    # (80 + 70 + 60 + 50) / 4 = 65; the F1 of 90 does not count.
    assert table["average"]["full"] == pytest.approx(65)


def test_a_difference_is_that_to_full_and_published_figures_stand_beside():
    found = {"full": glue(0.8, 0.7, 0.9, 0.6), "without_general": glue(0.7, 0.7, 0.9, 0.4)}
    table = build_table(NAMES, found)
    # (70 + 70 + 40 + 50) / 4 = 57.5, and 57.5 - 65 = -7.5.
    assert table["difference"]["without_general"] == pytest.approx(-7.5)
    assert table["difference"]["full"] == 0
    assert table["published/avg"].tolist()[:2] == [75.6, 72.5]
    assert pd.isna(table["published/avg"]["mine"])  # no ablation of the paper's
    assert pd.isna(table["average"]["mine"])  # and it has not run
    text = as_text(table)
    assert text["difference"].tolist() == ["", "-7.5", MISSING]
    assert text["paper CoLA"].tolist() == ["50.8", "40.8", MISSING]


def test_a_row_that_lacks_a_score_has_no_average():
    lacking = {"mrpc": glue(0, 0, 0, 0)["mrpc"]}
    table = build_table(["full", "mine"], {"full": glue(0.8, 0.7, 0.9, 0.6), "mine": lacking})
    assert pd.isna(table["average"]["mine"])


def test_without_full_there_is_no_difference():
    table = build_table(["mine"], {"mine": glue(0.8, 0.7, 0.9, 0.6)})
    assert table["difference"].isna().all()


def test_markdown_csv_and_two_pictures_are_written(tmp_path):
    found = {"full": glue(0.8, 0.7, 0.9, 0.6), "without_general": glue(0.7, 0.7, 0.9, 0.4)}
    stem = tmp_path / "ablation" / "small-v1.5"
    files = write_files(build_table(NAMES, found), "A title", stem)
    assert [file.name for file in files] == [f"small-v1.5.{e}" for e in ("md", "csv", "png", "svg")]
    assert all(file.is_file() for file in files)
    lines = files[0].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# A title"
    assert "| without_general | 70.0 | 70.0 | 40.0 | 50.0 | 57.5 | -7.5 | 82.5 |" in lines[5]
    read = pd.read_csv(files[1], index_col="experiment")
    assert read["difference"]["without_general"] == -7.5
    assert "without_general" in files[3].read_text(encoding="utf-8")


def test_without_a_difference_no_picture_is_drawn(tmp_path):
    table = build_table(["full"], {"full": glue(0.8, 0.7, 0.9, 0.6)})
    files = write_files(table, "A title", tmp_path / "one")
    assert [file.suffix for file in files] == [".md", ".csv"]
