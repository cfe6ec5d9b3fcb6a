"""The stage `export`, and what is made of its folder: a bundle, and a folder for the hub."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from stages import _handover
from tests.fixtures.models import tiny_classifier, tiny_tokenizer
from tests.fixtures.workspace import edit_section, make_workspace, run_stage
from tinybert.deployment import hub
from tinybert.deployment.sections import FLOAT, INT8
from tinybert.deployment.service import Classifier, make_app
from tinybert.evaluation.prediction import predict_logits
from tinybert.runtime.errors import InputError
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.task import Encoding, read_info, read_split, write_task

SYSTEM, TASK = "tinybert_mini", "reviews"
ENCODING = Encoding("classification", 2, 64)
STUDENT, EXPORTED = (Path("models") / kind / SYSTEM / TASK for kind in ("prediction", "onnx"))
REPORT = Path(f"reports/export/{SYSTEM}-{TASK}.json")
PROFILE = Path("params/profiles/tiny.yaml")


def save_student(model=None) -> None:
    labels = read_info(Path("data/tasks") / TASK).labels
    model = model or decided(tiny_classifier())
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: number for number, label in enumerate(labels)}
    model.save_pretrained(STUDENT)
    tiny_tokenizer(STUDENT).save_pretrained(STUDENT)


def decided(model):
    """Make a random model's answers differ from text to text by much."""
    with torch.no_grad():
        model.classifier.weight.mul_(50)
    return model


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A workspace with a task, a random student and its export."""
    folder = make_workspace(tmp_path_factory.mktemp("workspace"))
    with chdir(folder):
        tried = ["dynamic", "static_minmax"]
        edit_section(PROFILE, "export", calibrations=tried, max_score_drop=0.01)
        run_stage("prepare_task", TASK)
        save_student()
        run_stage("export", SYSTEM, TASK)
        card = Path("models/student") / SYSTEM / TASK
        shutil.copytree(STUDENT, card)
        head = "---\nlibrary_name: transformers\npipeline_tag: text-classification\n---\n"
        (card / "README.md").write_text(head + "# A student\n")
        yield folder


@pytest.fixture(autouse=True)
def inside(workspace, monkeypatch) -> None:
    monkeypatch.chdir(workspace)


def test_the_folder_has_what_transformers_js_looks_for_and_no_other_weights():
    files = {path.relative_to(EXPORTED).as_posix() for path in EXPORTED.rglob("*.*")}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= files
    assert {file for file in files if "onnx/" in file} == {str(FLOAT), str(INT8)}
    assert not any(file.endswith((".safetensors", ".data")) for file in files)


def test_the_report_says_what_each_calibration_lost():
    found = json.loads(REPORT.read_text())
    assert found["num_rows"] == len(read_split(Path("data/tasks") / TASK, "dev"))
    assert found["float32"]["largest_difference"] < 1e-3
    assert [one["name"] for one in found["int8"]] == ["dynamic", "static_minmax"]
    best = found["chosen"]
    assert best in found["int8"]
    assert best["drop"] == min(one["drop"] for one in found["int8"])
    assert best["size_mb"] == (EXPORTED / INT8).stat().st_size / 1e6
    assert found["float32"]["score"] - best["score"] == pytest.approx(best["drop"])


def test_a_student_that_int8_ruins_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    # One word's huge vector leaves no steps for the others in the table's one scale.
    shutil.copytree(Path.cwd(), tmp_path / "copy", ignore=shutil.ignore_patterns("onnx"))
    monkeypatch.chdir(tmp_path / "copy")
    model = decided(tiny_classifier())
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[5] = 1e5
    folder = Path("data/tasks") / TASK
    splits = {name: read_split(folder, name) for name in ("train", "dev")}
    rows = encode_split(splits["dev"], tiny_tokenizer(tmp_path), ENCODING)
    logits = predict_logits(model, rows, None)
    with torch.no_grad():  # half of the rows get each label, and it errs nowhere
        model.classifier.bias[0] += float(np.median(logits[:, 1] - logits[:, 0]))
    splits["dev"]["label"] = predict_logits(model, rows, None).argmax(axis=1)
    write_task(folder, read_info(folder), splits)
    save_student(model)
    with pytest.raises(
        InputError, match=r"got points lost dynamic .*, static_minmax .*; at most 1"
    ):
        run_stage("export", SYSTEM, TASK)
    assert not EXPORTED.exists()
    assert not list(Path("models").rglob("*.onnx"))


def test_a_baseline_is_not_exported():
    assert "made nothing" in run_stage("export", "scratch_mini", TASK)
    assert not list((Path("models/onnx/scratch_mini") / TASK).iterdir())
    found = json.loads(Path(f"reports/export/scratch_mini-{TASK}.json").read_text())
    assert found == {"system": "scratch_mini", "task": TASK}


def test_a_bundle_answers_as_the_student_does(tmp_path):
    assert "made bundles/tinybert_mini-reviews" in _handover.main("bundle", SYSTEM, TASK)
    folder = Path("bundles/tinybert_mini-reviews")
    names = {file.name for file in folder.iterdir()}
    assert {"service.py", "Dockerfile", "requirements.txt", "README.md", "bundle.json"} <= names
    frame = read_split(Path("data/tasks") / TASK, "dev")
    rows = encode_split(frame, tiny_tokenizer(tmp_path), ENCODING)
    logits = predict_logits(decided(tiny_classifier()), rows, None)
    labels = read_info(Path("data/tasks") / TASK).labels
    with TestClient(make_app(Classifier(folder, "float32"))) as client:
        answers = client.post("/classify", json={"texts": frame["sentence1"].tolist()}).json()
    assert [each["label"] for each in answers] == [labels[n] for n in np.argmax(logits, axis=1)]


def test_without_the_hub_the_folder_for_it_is_made_and_checked():
    said = _handover.main("push", SYSTEM, TASK, "someone/tiny")
    folder = Path("reports/upload/hub/someone/tiny")
    assert "HF_HUB_OFFLINE is set" in said
    assert (folder / "model.safetensors").is_file() and (folder / INT8).is_file()


@pytest.mark.parametrize("error", [OSError, hub.HTTPError])
def test_what_the_hub_refuses_is_one_line(monkeypatch, error):
    def refuse(*_args, **_options):
        raise error("401 Unauthorized\nInvalid token")

    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    with pytest.raises(
        InputError, match="someone/tiny: the hub takes no upload, got 401"
    ) as caught:
        hub.upload(Path(), "someone/tiny")
    assert len(caught.value.problems) == 1


def test_a_folder_is_no_repository_and_stays_as_it_is(tmp_path):
    (tmp_path / "mine").write_text("mine")
    up = "../" * 20 + str(tmp_path)[1:]
    for repo in (str(tmp_path), up, "no name", "a/b/c", ".."):
        with pytest.raises(InputError, match=r"REPO: no name of a repository, got .*; write user"):
            _handover.main("push", SYSTEM, TASK, repo)
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "got none; right are: bundle SYSTEM TASK, or push SYSTEM TASK REPO"),
        (("bundle", SYSTEM), "got bundle tinybert_mini"),
        (("bundle", "unknown", TASK), "systems: unknown is not among them"),
        (("bundle", SYSTEM, "unknown"), "tasks: unknown is not among them"),
        (("bundle", "scratch_mini", TASK), "got false; write true and run `dvc repro export@"),
        (("bundle", SYSTEM, "scores"), "run `dvc repro export@tinybert_mini-scores`"),
    ],
)
def test_what_cannot_be_handed_on_is_named_with_its_cure(arguments, line):
    with pytest.raises(InputError) as caught:
        _handover.main(*arguments)
    assert any(line in problem for problem in caught.value.problems)
