"""`make glue`: what is missing is named, and the user's files are what the profile reads."""

from argparse import Namespace
from pathlib import Path

import pytest

from flows.glue import main, source_overrides
from flows.graph import apply_overrides
from tests.fixtures.refused import problems_of
from tests.fixtures.workspace import ROOT, copy_params
from tinybert.settings.yaml_reader import read_yaml


@pytest.fixture
def given(tmp_path):
    for name in ("glue", "corpus"):
        (tmp_path / name).mkdir()
    (tmp_path / "glove.txt").touch()
    places = {"glue_dir": "glue", "corpus": "corpus", "glove": "glove.txt"}
    return Namespace(**{name: str(tmp_path / place) for name, place in places.items()})


def test_a_profile_for_local_files_is_told_the_places_alone(given, tmp_path):
    given.glove = ""
    assert source_overrides(ROOT, given, "glue-small") == [
        f'sources.tasks="{tmp_path / "glue"}"',
        f'sources.corpus="{tmp_path / "corpus"}"',
    ]


def test_a_profile_that_reads_the_hub_is_switched_to_the_users_files(given, tmp_path):
    assert source_overrides(ROOT, given, "paper") == [
        f'sources.tasks="{tmp_path / "glue"}"',
        "params/profiles/paper.yaml:prepare_task.glue=folder",
        f'sources.corpus="{tmp_path / "corpus"}"',
        "params/profiles/paper.yaml:prepare_corpus.source=files",
        f'sources.word_vectors="{tmp_path / "glove.txt"}"',
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("josé", "glue (2018)", "a,b", "it's", "a=b", "R&D", "#1", "a:b", "[a] {b}", "null"),
        *('a"b', "a\\b", "a\\", 'a\\"b'),
    ],
)
def test_any_place_comes_to_params_yaml_as_it_is(given, name, tmp_path):
    given.glue_dir = str(tmp_path / name)
    Path(given.glue_dir).mkdir()
    copy_params(tmp_path)
    params = tmp_path / "params.yaml"
    apply_overrides(params, source_overrides(ROOT, given, "glue-small")[:1])
    assert read_yaml(params)["sources"]["tasks"] == given.glue_dir


def test_places_that_do_not_exist_are_all_named(given):
    given.glue_dir, given.glove = "nowhere", "none.txt"
    problems = problems_of(source_overrides, ROOT, given, "glue-small")
    assert [line.split(",")[0] for line in problems] == [
        "GLUE_DIR: no such file or folder",
        "GLOVE: no such file or folder",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "GLUE_DIR: is missing, got nothing; name the folder that holds CoLA, MRPC, ..."),
        (["--group", "smal"], 'group: unknown, got "smal"; known: paper, small'),
        (["--tasks", "mrcp"], 'tasks: unknown, got "mrcp"'),
        (["--profile", "large"], 'profile: unknown, got "large"'),
        (["--slots", "0"], "--slots: must be 1 or more, got 0; 2 suits two cores"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_runs(
    given, arguments, said, tmp_path, monkeypatch
):
    copy_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "params.yaml").read_text()
    sources = ["--glue-dir", given.glue_dir, "--corpus", given.corpus] if arguments else []
    assert said in problems_of(main, [*sources, *arguments])[0]
    assert (tmp_path / "params.yaml").read_text() == before


def test_a_group_runs_in_budgets_of_its_own(given, tmp_path, monkeypatch):
    copy_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    did = []
    monkeypatch.setattr("flows.glue.save_experiment", lambda root, _: did.append(root))
    monkeypatch.setattr("flows.glue.side_by_side", lambda *asked: did.append(asked))
    monkeypatch.setattr("flows.glue.require_valid", lambda *_, queued: None)
    sources = ["--glue-dir", given.glue_dir, "--corpus", given.corpus]
    usual = read_yaml(tmp_path / "params/profiles/paper.yaml")["general_distill"]["max_steps"]
    main([*sources, "--profile", "paper"])
    profile = read_yaml(tmp_path / "params/profiles/paper.yaml")
    assert profile["general_distill"]["max_steps"] == usual
    main([*sources, "--group", "small", "--profile", "paper"])
    profile = read_yaml(tmp_path / "params/profiles/paper.yaml")
    assert profile["general_distill"]["max_steps"] == 400
    assert read_yaml(tmp_path / "params.yaml")["sources"]["tasks"] == given.glue_dir
    assert did == [(tmp_path, None), tmp_path] * 2
