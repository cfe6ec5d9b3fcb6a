"""The committed groups of ablations, and how a group becomes experiments."""

import pytest

from tests.fixtures.workspace import ROOT, read_yaml, write_yaml
from tinybert.core.errors import InputError
from tinybert.reports.ablation import FULL, group_names, plan, read_groups, read_published

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
    assert group_names(ROOT) == ["after_closed_form", "augmentation", *names, "start"]
    planned = plan(read_groups(ROOT, names), "small", "tiny")
    assert [each.name for each in planned] == list(read_published().rows)
    assert (planned[0].name, planned[0].groups, planned[0].overrides) == (FULL, tuple(names), ())
    assert all(len(each.groups) == 1 for each in planned[1:])


def test_the_papers_averages_are_those_of_its_columns():
    # Each printed average is the mean of the four figures before it, to a rounding of 0.06.
    for *scores, average in read_published().rows.values():
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
    published = read_published()
    assert all(len(row) == len(published.columns) for row in published.rows.values())
    assert (
        read_yaml(ROOT / "tinybert/reports/published.yaml")["ablation_dev"]["rows"]
        == published.rows
    )


@pytest.mark.parametrize("name", ["my.v2", "a@b", "two words", "2024"])
def test_the_name_of_a_group_is_judged_before_anything_runs(root, name):
    folder = root(name, {"one": ONE})
    with pytest.raises(InputError, match=r"params/ablations: wrong name, got .*and write "):
        read_groups(folder, group_names(folder))
