"""Every committed params file is whole, and the paper's files hold the paper's settings."""

from pathlib import Path

import pytest

from stages._check_params import ParamsFile, _check_profile, check_params
from tests.fixtures.refused import problems_of, refused
from tests.fixtures.workspace import (
    ROOT,
    copy_params,
    edit_section,
    edit_yaml,
    make_workspace,
    read_yaml,
)
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import Settings, parse, read_param, read_section
from tinybert.settings.systems import Grid, OutputPhase
from tinybert.tasks.task_file import TaskFile

GLUE = ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def paper(section: str) -> dict:
    return read_yaml(ROOT / "params/profiles/paper.yaml")[section]


@pytest.mark.parametrize("profile", ["demo", "own-task", "glue-small", "paper"])
def test_every_profile_has_every_section_whole(profile):
    _check_profile(profile)


@pytest.mark.parametrize("file", sorted((ROOT / "params/tasks").glob("*.yaml")), ids=str)
def test_every_task_is_whole(file):
    parse(TaskFile, read_yaml(file), str(file))


def test_params_yaml_is_whole_and_selects_the_demo():
    params = parse(ParamsFile, read_yaml(Path("params.yaml")), "params.yaml")
    assert params.profile == "demo"
    assert read_param("loss.attn_weight", float) == 1.0


def test_the_paper_profile_holds_the_papers_settings():
    # Section 4.2: general 3 epochs of Wikipedia at length 128, batch 256; intermediate 20 epochs,
    # batch 32, 5e-5; prediction 3 epochs, batch 16 or 32, 1e-5 to 3e-5. Algorithm 1: 0.4, 20, 15.
    assert paper("teacher")["hub_id"].endswith("bert-base-uncased")
    assert paper("prepare_corpus")["block_length"] == 128
    general, intermediate = paper("general_distill"), paper("intermediate_distill")
    assert (general["num_epochs"], general["batch_size"]) == (3, 256)
    assert (intermediate["num_epochs"], intermediate["batch_size"]) == (20, 32)
    assert intermediate["learning_rate"] == 5e-5
    prediction = paper("prediction_distill")
    assert prediction["num_epochs"] == 3
    assert prediction["batch_sizes"] == [16, 32]
    assert prediction["learning_rates"] == [1e-5, 2e-5, 3e-5]
    augment = paper("augment")
    assert augment["replace_probability"] == 0.4
    assert (augment["num_copies"], augment["num_candidates"]) == (20, 15)
    assert all(
        paper(name)["max_steps"] is None for name in ("general_distill", "prediction_distill")
    )


@pytest.mark.parametrize(
    ("task", "epochs"), [("cola", 50), ("mnli", 10), ("qqp", 10), ("qnli", 10), ("mrpc", 20)]
)
def test_tasks_scale_the_papers_intermediate_epochs(task, epochs):
    scale = read_yaml(ROOT / f"params/tasks/{task}.yaml").get("epochs_scale", 1.0)
    assert paper("intermediate_distill")["num_epochs"] * scale == epochs


@pytest.mark.parametrize("task", GLUE)
def test_single_sentences_have_64_tokens_and_pairs_128(task):
    file = read_yaml(ROOT / f"params/tasks/{task}.yaml")
    assert file["max_length"] == (128 if "sentence2" in file["columns"] else 64)


def test_a_section_that_is_missing_names_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params/profiles").mkdir(parents=True)
    Path("params.yaml").write_text("profile: own\n")
    Path("params/profiles/own.yaml").write_text("augment: {}\n")
    with pytest.raises(InputError, match="key 'teacher' is missing, got augment; add it"):
        read_section("teacher", dict)


def test_numbers_are_read_as_numbers():
    # YAML 1.1 takes 5e-5 for a string; the closed schema refuses it instead of training with it.
    with pytest.raises(InputError, match=r"learning_rates\.0: wrong value, got '5e-5'"):
        parse(Grid, {**paper("prediction_distill"), "learning_rates": ["5e-5"]}, "p.yaml: x")


class _Values(Settings):
    number: float = 0.0
    count: int = 0
    switch: bool = False
    text: str = ""


@pytest.mark.parametrize("text", ["1e-5", "5e-05", "2.0E-5", "5e-5", "0.00005"])
def test_small_numbers_of_a_file_are_numbers(tmp_path, text):
    file = tmp_path / "profile.yaml"
    file.write_text(f"number: {text}\n")
    assert parse(_Values, read_yaml(file), "p").number == float(text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("number: '5e-5'", "p: number: wrong value, got '5e-5'; Input should be a valid number: "),
        ("number: '5e-5'", "write 5e-5 without quotes"),
        ("number: 0,5", "write 0.5"),
        ("count: 1_000", "write 1000"),
        ("count: 1,000,000", "write 1000000"),
        ("count: 010", "write 10"),
        ("count: 1.5", "valid integer"),
        ("number: .nan", "finite number"),
        ("number: 1e400", "finite number"),
        ("count:", "write one after the colon"),
        ("switch: yes", "write true or false"),
        ("switch: 'true'", "write true or false, without quotes"),
        ("text: 2024", "got 2024; Input should be a valid string: write it in quotes"),
        ("text: true", "write it in quotes"),
        ("text: 1e5", "write it in quotes"),
        ("text: null", "in quotes if it is the word null"),
        ("1: x", "p: 1: unknown key"),
        ("true: x", "unknown key"),
        ("null: x", "p: None: unknown key"),
    ],
)
def test_what_yaml_took_for_something_else_is_refused_with_what_to_write(tmp_path, line, expected):
    file = tmp_path / "profile.yaml"
    file.write_text(f"{line}\n")
    assert expected in refused(parse, _Values, read_yaml(file), "p")


def test_a_long_wrong_value_is_shown_in_part():
    assert len(refused(parse, _Values, {"count": "x" * 100_000}, "p")) < 500


@pytest.mark.parametrize("data", ["unlabelled", "all"])
def test_gold_labels_and_rows_without_are_refused_together(data):
    with pytest.raises(InputError, match=f"the term label needs rows with labels, got {data}"):
        parse(OutputPhase, {"terms": ["kl", "label"], "data": data}, "phase")
    assert parse(OutputPhase, {"terms": ["kl"], "data": data}, "phase").data == data


def test_a_system_that_names_unlabelled_rows_needs_tasks_that_have_some(tmp_path, monkeypatch):
    make_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    file = Path("params/systems/tinybert_mini.yaml")
    edit_yaml(file, intermediate_distill={"terms": ["hidden"], "data": "unlabelled"})
    edit_yaml(Path("params/tasks/scores.yaml"), unlabelled={"files": "further.tsv"})
    expected = f"{file}: intermediate_distill.data: the task reviews has no unlabelled rows"
    assert refused(check_params).startswith(expected)
    edit_yaml(Path("params/tasks/reviews.yaml"), unlabelled={"files": "further.txt"})
    check_params()


def test_a_system_that_hides_words_needs_a_profile_with_the_masked_word_model(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(copy_params(tmp_path))
    edit_yaml(Path("params.yaml"), systems=["tinybert_mini", "pd_mini", "bert_tiny_mini"])
    profile = Path("params/profiles/demo.yaml")
    assert problems_of(check_params) == tuple(
        f"params/systems/{name}.yaml: general_distill hides words, which needs the masked-word "
        f"model, got fetch_teacher.masked_lm false in {profile}; write true"
        for name in ("pd_mini", "bert_tiny_mini")
    )
    edit_section(profile, "fetch_teacher", masked_lm=True)
    check_params()


def test_epochs_without_end_need_steps_that_end_them(tmp_path, monkeypatch):
    monkeypatch.chdir(copy_params(tmp_path))
    profile = Path("params/profiles/paper.yaml")
    edit_yaml(Path("params.yaml"), profile="paper")
    edit_section(profile, "prediction_distill", num_epochs=1000.0)
    line = refused(check_params)
    assert line.startswith(f"{profile}: prediction_distill: max_steps must end so many epochs, ")
    edit_section(profile, "prediction_distill", max_steps=400)
    check_params()
