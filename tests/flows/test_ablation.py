"""Ablations: what they run, what they share, what is refused before anything runs."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from flows import experiments
from flows.ablation import main, read_study, show
from flows.experiments import Experiment, read_experiments
from flows.overrides import params_changed
from stages._check_params import check_params
from tests.fixtures.refused import problems_of, refused
from tests.fixtures.small_study import FILE, make_study, times_run
from tests.fixtures.workspace import copy_params, edit_yaml, read_yaml
from tinybert.reports.ablation import FULL
from tinybert.runtime.errors import InputError


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("template") / "repo")


@pytest.fixture
def root(tmp_path, template, monkeypatch):
    folder = shutil.copytree(template, tmp_path / "repo", symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.mark.parametrize(
    ("system", "start"), [("tinybert_mini", "closed_form"), ("tinybert4", "random")]
)
def test_every_committed_override_changes_the_params_into_right_ones(
    system, start, tmp_path, monkeypatch
):
    monkeypatch.chdir(copy_params(tmp_path))
    study = read_study(tmp_path, system=system, profile="glue-small", tasks=["mrpc"])
    as_it_is = (
        f"params/systems/{system}.yaml:initialisation={start}",
        f"params/systems/{system}.yaml:general_distill.terms=[attention,hidden,embedding]",
        "params/profiles/glue-small.yaml:augment.num_copies=0",
    )
    for each in study.asked(tmp_path):
        own = each.overrides[3:]  # after profile, tasks and systems
        with params_changed(tmp_path, each.overrides):
            check_params()
            assert read_yaml(Path("params.yaml"))["systems"] == [system]
        for override in own:
            file = override.partition(":")[0] if ":" in override else "params.yaml"
            before = read_yaml(Path(file))
            with params_changed(tmp_path, [override]):
                assert (read_yaml(Path(file)) == before) == (override in as_it_is), override


@pytest.mark.parametrize("system", ["closed_form_mini", "tinybert_mini"])
def test_a_start_is_what_its_description_says_of_whatever_system(system, tmp_path, monkeypatch):
    monkeypatch.chdir(copy_params(tmp_path))
    study = read_study(tmp_path, system=system, tasks=["mrpc"])
    found = {}
    for each, planned in zip(study.asked(tmp_path), study.planned(tmp_path), strict=True):
        with params_changed(tmp_path, each.overrides):
            read = read_yaml(Path(f"params/systems/{system}.yaml"))
        general, task = read["general_distill"]["terms"], read["intermediate_distill"]
        start = task.get("start", "general")
        found[planned.name] = (start, start == "general" and read["initialisation"], bool(general))
    asked = {
        "without_general": ("general", "random", False),
        "random": ("general", "random", False),
        "random_general": ("general", "random", True),
        "closed_form_general": ("general", "closed_form", False),
        "closed_form_task": ("closed_form", False, False),
        "closed_form_alone": ("closed_form", False, False),
    }
    assert {name: found[name] for name in asked} == asked
    assert found["without_task"][0] == "general"
    assert found["head_in_closed_form"][0] == found["output_alone"][0] == "closed_form"


def test_every_experiment_has_the_one_system_alone_and_a_name_of_its_own(root):
    study = read_study(root, system="small", tasks=["one", "two"])
    names = [each.name for each in study.asked(root)]
    assert names[0] == "full.small.one-two.tiny"
    assert len(set(names)) == len(names) == 5
    assert {tuple(each.overrides[:3]) for each in study.asked(root)} == {
        ("profile=tiny", "tasks=[one,two]", "systems=[small]")
    }


def test_what_is_not_given_is_as_params_yaml_says(root):
    study = read_study(root)
    assert (study.system, study.tasks, study.profile) == ("other", ["one"], "tiny")
    assert list(study.groups) == ["layer_maps", "phases"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--groups", "phases layer_map"], "groups: unknown, got 'layer_map'; known: layer_maps"),
        (["--system", "big"], 'systems: unknown, got "big"; known: other, small'),
        (["--tasks", "one,three"], 'tasks: unknown, got "three"; known: one, two'),
        (["--profile", "large"], "profile"),
        (["--via", "celery"], "ablation: got VIA='celery'; right is dvc or prefect"),
        (["--corpus", "nowhere"], "CORPUS: no such file or folder, got nowhere"),
        (["show"], "ablation: nothing to show, got no experiment such as full.other.one.tiny"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line_and_nothing_runs(root, arguments, said):
    before = (root / "params.yaml").read_text()
    assert said in refused(main, arguments)
    assert times_run(root) == {}
    assert (root / "params.yaml").read_text() == before


def test_an_override_that_fits_no_file_is_refused_before_anything_runs(root):
    file = root / "params/ablations/layer_maps.yaml"
    wrong = {"description": "", "overrides": ["loss.atn_weight=0"]}
    edit_yaml(file, experiments={"mine": wrong})
    with pytest.raises(InputError, match=r"unknown key in params.yaml, got 'loss.atn_weight'"):
        main(["--system", "small"])
    assert times_run(root) == {}


def test_a_file_that_a_queued_experiment_would_not_see_is_refused(root):
    shutil.copy(root / "params/systems/small.yaml", root / "params/systems/new.yaml")
    with pytest.raises(InputError, match=r"git add params/systems/new\.yaml"):
        main(["--system", "new"])
    assert times_run(root) == {}


@pytest.mark.slow
def test_shared_stages_are_executed_once_and_a_second_time_nothing_is(root, capfd):
    main(["--system", "small"])
    # corpus: once. augment: as it is, and without copies. general: as it is, without terms, with
    # the top map. student and evaluate: full, without_general, without_task, without_augmentation,
    # layer_map_top.
    once = {"augment": 2, "corpus": 1, "evaluate": 5, "general": 3, "student": 5}
    assert times_run(root) == once
    printed = capfd.readouterr().out
    assert "Ablations of small on one (profile tiny)" in printed
    table = pd.read_csv(root / "reports/ablation/small-one-tiny.csv", index_col="experiment")
    assert list(table.index) == [
        *(FULL, "without_general", "without_task", "without_augmentation", "layer_map_top")
    ]
    # Scores fall with the length of the texts: `attention` with its quotes is shorter by 11.
    assert table["difference"]["without_general"] == pytest.approx(1.1)
    assert table["average"].notna().all()

    main(["--system", "small", "--groups", "phases"])
    assert times_run(root) == once

    # Another group changes the same input in another way: only what is new runs.
    experiments = {
        f"layer_map_{name}": {"description": "", "overrides": [f"{FILE}layer_map={name}"]}
        for name in ("top", "bottom")
    }
    edit_yaml(root / "params/ablations/layer_maps.yaml", experiments=experiments)
    main(["--system", "small", "--groups", "layer_maps"])
    assert times_run(root) == {**once, "evaluate": 6, "general": 4, "student": 6}


@pytest.mark.slow
def test_one_that_fails_is_said_and_the_others_stand_in_the_table(root):
    edit_yaml(root / "params.yaml", fail="general")
    with pytest.raises(InputError, match=r"got a failure of without_general\.small\.one\.tiny"):
        main(["--system", "small", "--groups", "phases"])
    table = pd.read_csv(root / "reports/ablation/small-one-tiny-phases.csv", index_col="experiment")
    assert list(table.index[table["average"].isna()]) == ["without_general"]
    assert "without_general.small.one.tiny" not in read_experiments(root)


def test_tables_of_other_profiles_and_groups_stand_beside_each_other(root, monkeypatch):
    asked = [(None, "tiny"), (["phases"], "tiny"), (None, "wide")]
    studies = [read_study(root, groups, "small", profile=profile) for groups, profile in asked]
    scores = {"main_metric": "accuracy", "metrics": {"dev": {"accuracy": 0.9}}}
    full = Experiment("HEAD", {}, {"reports/metrics/small/one.json": scores})
    found = {study.experiment(FULL): full for study in studies}
    monkeypatch.setattr("flows.ablation.read_experiments", lambda _: found)
    monkeypatch.setattr("flows.ablation._mark_runs", lambda *_: "")
    for study in studies:
        show(root, study)
    assert {file.stem for file in (root / "reports/ablation").glob("*.csv")} == {
        *("small-one-tiny", "small-one-tiny-phases", "small-one-wide")
    }


def test_the_table_is_shown_before_a_flow_that_failed_is_said(root, tmp_path, monkeypatch):
    prefect = tmp_path / "bin/prefect"
    prefect.parent.mkdir()
    prefect.write_text("#!/bin/sh\nexit 1\n")
    prefect.chmod(0o755)
    monkeypatch.setenv("PATH", str(prefect.parent), prepend=os.pathsep)
    monkeypatch.setattr("flows.experiments.wait_for_server", lambda _: None)
    shown = []
    monkeypatch.setattr("flows.ablation.show", lambda _, study: shown.append(study.system))
    problems = problems_of(main, ["--system", "small", "--via", "prefect"])
    assert shown == ["small"]
    assert problems[0].startswith("`prefect deployment run tinybert-ablation/full ")
    assert problems[1].startswith("experiments: no result, got a failure of full.small.one.tiny, ")


def test_an_experiment_that_still_runs_has_no_result_yet(tmp_path, monkeypatch):
    def entry(name: str, executor: dict | None) -> dict:
        data = {"params": {}, "metrics": {"teacher.json": {"data": {"dev": 1.0}}}}
        newest = {"rev": name, "data": data, "error": None}
        return {"name": name, "revs": [newest], "executor": executor}

    entries = [
        entry("running", {"state": "running"}),
        entry("ended", {"state": "success"}),
        entry("in_the_workspace", None),
    ]
    monkeypatch.setattr(experiments, "_entries", lambda root: entries)
    assert list(read_experiments(tmp_path)) == ["ended", "in_the_workspace"]
