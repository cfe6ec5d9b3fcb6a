"""Students and teachers are registered once, can be loaded from the registry, and served."""

import json
import os
import shutil
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from tests.fixtures.kinds import TEXTS, info_of, model_of
from tests.fixtures.measured import EXPORT, put_json, task_info
from tests.fixtures.mlflow_server import free_port, kill, start
from tests.fixtures.models import tiny_classifier, tiny_config, tiny_roberta, tiny_tokenizer
from tests.fixtures.slow import slow_but
from tests.fixtures.tracked import client_of, track_project
from tinybert.deployment.onnx_file import export_onnx
from tinybert.deployment.sections import INT8
from tinybert.tasks.task import TaskInfo, write_task
from tinybert.tracking.registry import best_version, longest_row

SENTENCES = {"text": "the cat sat .", "text_pair": "a dog ran ."}


def make_project(folder: Path, task: str, pair: bool, regression: bool = False) -> Path:
    """Write what `track` reads of one student, `small`, and its teacher."""
    labels = [] if regression else ["bad", "good"]
    metric = "spearman" if regression else "accuracy"
    info = task_info(task, labels, [metric], pair=pair)
    (folder / "data/tasks" / task).mkdir(parents=True)
    write_task(folder / "data/tasks" / task, info, {})
    write_model(folder, "teacher", info, seed=0, dev_score=0.8)
    write_model(folder, "small", info, seed=1, dev_score=0.7)
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {}}))
    return folder


def write_model(folder: Path, system: str, info: TaskInfo, seed: int, dev_score: float) -> None:
    place = folder / "models" / ("teacher" if system == "teacher" else f"student/{system}")
    model = tiny_classifier(num_labels=len(info.labels) or 1, seed=seed)
    if info.labels:
        model.config.id2label = dict(enumerate(info.labels))
        model.config.label2id = {label: number for number, label in enumerate(info.labels)}
    else:
        model.config.problem_type = "regression"
    model.save_pretrained(place / info.name)
    tiny_tokenizer(place / info.name).save_pretrained(place / info.name)
    metric = info.metrics[0]
    scores = {"main_metric": metric, "metrics": {"dev": {metric: dev_score}}}
    put_json(folder / "reports/metrics" / system / f"{info.name}.json", scores)


def track_task(folder: Path, task: str, uri: str, seed: str = "0") -> str:
    return track_project(folder, uri, {"seed": seed}, task)


def new_task() -> str:
    return f"task_{uuid.uuid4().hex[:8]}"  # tests share a store


def versions(uri: str, name: str) -> dict[str, dict[str, str]]:
    found = client_of(uri).search_model_versions(f"name='{name}'")
    return {str(each.version): dict(each.tags) for each in found}


def alias(uri: str, name: str, which: str) -> str:
    return str(client_of(uri).get_model_version_by_alias(name, which).version)


def test_a_model_has_one_version_per_weights_and_aliases_for_the_newest_and_the_best(
    store, tmp_path
):
    task = new_task()
    folder, name = make_project(tmp_path, task, pair=False), f"small-{task}"
    track_task(folder, task, store)
    track_task(folder, task, store, seed="1")  # another state with the same weights
    assert list(versions(store, name)) == ["1"] and list(versions(store, f"teacher-{task}"))
    tags = versions(store, name)["1"]
    assert tags["dev_score"] == "0.7" and tags["metric"] == "accuracy" and tags["task"] == task
    card = folder / "models/student/small" / task / "README.md"
    card.write_text("---\nlibrary_name: transformers\n---\n\n# small\n" + "long " * 2000)
    track_task(folder, task, store, seed="1b")  # a card makes no other model
    (version,) = client_of(store).search_model_versions(f"name='{name}'")
    assert version.description.startswith("# small\nlong") and version.description.endswith("\n...")
    assert len(version.description) == 5000
    info = TaskInfo.model_validate_json((folder / f"data/tasks/{task}/task.json").read_text())
    write_model(folder, "small", info, seed=5, dev_score=0.6)
    track_task(folder, task, store, seed="2")
    assert alias(store, name, "newest") == "2" and alias(store, name, "best") == "1"
    write_model(folder, "small", info, seed=1, dev_score=0.7)
    track_task(folder, task, store, seed="3")  # the first weights again
    assert len(versions(store, name)) == 2 and alias(store, name, "newest") == "1"
    info = info.model_copy(update={"metrics": ["f1"]})  # by another metric nothing is comparable
    write_model(folder, "teacher", info, seed=0, dev_score=0.8)
    write_model(folder, "small", info, seed=5, dev_score=0.2)
    track_task(folder, task, store, seed="4")
    assert alias(store, name, "newest") == alias(store, name, "best") == "2"
    assert versions(store, name)["2"]["metric"] == "f1"


def test_a_registered_roberta_is_asked_to_read_no_more_than_it_can_number(tmp_path):
    tiny_roberta(pad_token_id=1).save_pretrained(tmp_path / "roberta")  # 66, 2 up to padding's
    tiny_config().save_pretrained(tmp_path / "bert")
    tiny_config(max_position_embeddings=1024).save_pretrained(tmp_path / "long")
    read = [longest_row(tmp_path / name) for name in ("roberta", "bert", "long")]
    assert read == [64, 64, 512]


def test_what_a_person_did_to_the_registry_is_healed(store, tmp_path, capfd):
    task = new_task()
    folder, name = make_project(tmp_path, task, pair=False), f"small-{task}"
    track_task(folder, task, store)
    client = client_of(store)
    client.set_model_version_tag(name, "1", "dev_score", "good")  # edited on its page
    info = TaskInfo.model_validate_json((folder / f"data/tasks/{task}/task.json").read_text())
    write_model(folder, "small", info, seed=5, dev_score=0.6)
    track_task(folder, task, store)
    assert alias(store, name, "best") == "2"
    client.set_registered_model_alias(name, "best", "1")
    client.set_registered_model_alias(name, "mine", "1")
    track_task(folder, task, store)  # its aliases are its own, and nobody else's
    assert alias(store, name, "best") == "2" and alias(store, name, "mine") == "1"
    client.delete_model_version(name, "2")
    track_task(folder, task, store)
    assert alias(store, name, "newest") == alias(store, name, "best") == "3"
    client.delete_registered_model(name)
    track_task(folder, task, store)
    assert alias(store, name, "best") == "1" and len(versions(store, name)) == 1

    place = Path(mlflow.artifacts.download_artifacts(f"models:/{name}@best"))
    source = client.get_model_version_download_uri(name, "1")
    shutil.rmtree(unquote(urlsplit(source).path))
    capfd.readouterr()
    track_task(folder, task, store)
    assert "the files of version 1 are gone" in capfd.readouterr().err
    assert alias(store, name, "newest") == alias(store, name, "best") == "2"
    assert mlflow.artifacts.download_artifacts(f"models:/{name}@best") != place


def test_a_prompt_of_a_models_name_costs_that_model_alone(store, tmp_path, capfd):
    task = new_task()
    folder = make_project(tmp_path, task, pair=False)
    client_of(store).register_prompt(f"small-{task}", "say {{x}}")
    track_task(folder, task, store)
    assert "delete or rename the prompt" in capfd.readouterr().err
    assert list(versions(store, f"teacher-{task}")) == ["1"]


def test_the_best_version_has_the_highest_score_and_is_the_first_of_equals():
    assert best_version([("10", 0.9), ("2", 0.9), ("1", -0.2)]) == "2"
    assert best_version([("1", -0.5), ("2", -0.2)]) == "2"


def test_a_registered_pair_model_gives_what_its_files_give_and_holds_no_pickle(store, tmp_path):
    task = new_task()
    folder, name = make_project(tmp_path, task, pair=True), f"small-{task}"
    track_task(folder, task, store)
    mlflow.set_tracking_uri(store)
    place = folder / "models/student/small" / task
    model, tokenizer = (
        kind.from_pretrained(place) for kind in (AutoModelForSequenceClassification, AutoTokenizer)
    )
    inputs = tokenizer(*SENTENCES.values(), return_tensors="pt")
    expected = torch.softmax(model.eval()(**inputs).logits[0], 0).detach()
    label = model.config.id2label[int(expected.argmax())]
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@best")
    assert [column.name for column in loaded.metadata.signature.inputs] == list(SENTENCES)
    found = loaded.predict(pd.DataFrame([SENTENCES])).iloc[0]
    assert found["label"] == label and found["score"] == pytest.approx(float(expected.max()))
    (pipeline,) = (mlflow.transformers.load_model(f"models:/{name}@newest")([SENTENCES]),)
    assert pipeline[0]["label"] == label
    long = {"text": "cat " * 500, "text_pair": "dog " * 500}  # more than the model has places for
    assert loaded.predict(pd.DataFrame([long])).iloc[0]["label"] in {"bad", "good"}
    files = Path(mlflow.artifacts.download_artifacts(f"models:/{name}@best"))
    kinds = {file.suffix for file in files.rglob("*") if file.is_file()}
    assert ".safetensors" in kinds
    assert kinds <= {".safetensors", ".json", ".txt", ".yaml", ".yml", ".md", ""}
    assert "auto_map" not in (files / "model/config.json").read_text()
    assert any(line.startswith("transformers==") for line in requirements(files))


def test_the_int8_model_is_registered_beside_its_student(store, tmp_path):
    task = new_task()
    folder = make_project(tmp_path / "project", task, pair=False)
    exported = folder / "models/onnx/small" / task
    (exported / INT8).parent.mkdir(parents=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / "models/student/small" / task
    )
    export_onnx(model, exported / INT8)
    put_json(folder / f"reports/export/small-{task}.json", EXPORT)
    track_task(folder, task, store)
    name = f"small-{task}-onnx"
    assert [each["dev_score"] for each in versions(store, name).values()] == ["0.69"]
    assert alias(store, name, "best") == alias(store, name, "newest") == "1"
    mlflow.set_tracking_uri(store)
    ids = np.array([[2, 7, 9, 3]])
    inputs = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}
    found = mlflow.pyfunc.load_model(f"models:/{name}@best").predict(inputs)["logits"]
    expected = model(torch.from_numpy(ids)).logits.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("report", [None, {"system": "small"}])
def test_a_student_that_was_not_exported_is_registered_alone(store, tmp_path, report):
    task = new_task()
    folder = make_project(tmp_path / "project", task, pair=False)
    if report is not None:
        put_json(folder / f"reports/export/small-{task}.json", report)
    track_task(folder, task, store)
    assert versions(store, f"small-{task}") and not versions(store, f"small-{task}-onnx")


@pytest.mark.parametrize("kind", slow_but(["tokens"], ["multilabel", "tokens", "span"]))
def test_a_student_of_each_kind_is_registered_and_can_be_loaded(store, tmp_path, kind):
    task, info = new_task(), info_of(kind)
    folder = make_project(tmp_path / "project", task, pair=False)
    write_task(folder / "data/tasks" / task, info.model_copy(update={"name": task}), {})
    model, metric = model_of(kind, seed=1), info.metrics[0]
    for system, place in (("small", f"student/small/{task}"), ("teacher", f"teacher/{task}")):
        shutil.rmtree(folder / "models" / place)
        model.save_pretrained(folder / "models" / place)
        tiny_tokenizer(folder / "models" / place).save_pretrained(folder / "models" / place)
        scores = {"main_metric": metric, "metrics": {"dev": {metric: 0.75}}}
        scores |= {"parts": {"dev": {"joy": {"f1": 0.5, "support": 3}}}}
        put_json(folder / f"reports/metrics/{system}/{task}.json", scores)
    (folder / "models/onnx/small" / task / "onnx").mkdir(parents=True)
    export_onnx(model, folder / "models/onnx/small" / task / INT8)
    put_json(folder / f"reports/export/small-{task}.json", EXPORT)
    run = client_of(store).get_run(track_task(folder, task, store))
    assert run.data.metrics[f"small/{task}/dev/{metric}"] == 0.75
    mlflow.set_tracking_uri(store)
    uri = f"models:/small-{task}@best"
    if kind == "span":
        loaded = AutoModelForQuestionAnswering.from_pretrained(
            mlflow.artifacts.download_artifacts(uri)
        )
        assert torch.equal(loaded.qa_outputs.weight, model.qa_outputs.weight)
    else:
        served = mlflow.pyfunc.load_model(uri)
        found = served.predict(pd.DataFrame([{"text": text} for text in TEXTS]))
        options = {"top_k": None} if kind == "multilabel" else {"aggregation_strategy": "first"}
        expected = mlflow.transformers.load_model(uri)(TEXTS, **options)
        if kind == "multilabel":
            assert found.to_numpy().tolist() == expected
            assert len(served.metadata.signature.outputs.inputs) == 3
        else:
            assert found == [",".join(e["entity_group"] for e in row) for row in expected]
    int8 = mlflow.models.get_model_info(f"models:/small-{task}-onnx@best").signature.outputs.inputs
    names = ["start_logits", "end_logits"] if kind == "span" else ["logits"]
    assert [each.name for each in int8] == names
    assert {each.shape for each in int8} == {(-1, -1, -1) if kind == "tokens" else (-1, -1)}


def requirements(files: Path) -> list[str]:
    return (files / "requirements.txt").read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "pair", "regression"])
def test_a_registered_student_is_served(store, tmp_path, kind):
    task, port = new_task(), free_port()
    pair = kind != "single"
    folder = make_project(tmp_path, task, pair, regression=kind == "regression")
    track_task(folder, task, store)
    command = ["models", "serve", "-m", f"models:/small-{task}@best", "--env-manager", "local"]
    served = start([*command, "--workers", "1"], "/ping", port, MLFLOW_TRACKING_URI=store)
    try:
        row = SENTENCES if pair else {"text": SENTENCES["text"]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"dataframe_records": [row, row]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)["predictions"]
    finally:
        kill(served)
    place = folder / "models/student/small" / task
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    inputs = AutoTokenizer.from_pretrained(place)(*row.values(), return_tensors="pt")
    logits = model(**inputs).logits[0].detach()
    expected = float(logits[0] if kind == "regression" else torch.softmax(logits, 0).max())
    assert len(found) == 2 and found[0]["score"] == pytest.approx(expected, abs=1e-5)
    assert os.fspath(place) not in json.dumps(found)
