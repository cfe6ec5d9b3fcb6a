"""Several labels, tags and answers go through every stage, in a tiny workspace."""

import json
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from tests.fixtures.workspace import (
    SHAPE,
    edit_section,
    edit_yaml,
    make_workspace,
    run_stage,
    sentences,
    write_yaml,
)
from tinybert.doctor.teacher import judge, look_at
from tinybert.encoders.checkpoints import load_classifier, load_tokenizer
from tinybert.encoders.classifier import task_classifier
from tinybert.evaluation.decision import saved_decision
from tinybert.evaluation.prediction import predict_logits, read_task_split
from tinybert.evaluation.prediction_files import predictions_file, read_predictions
from tinybert.reports.recomputed import recomputed
from tinybert.reports.results import read_results
from tinybert.runtime.errors import InputError
from tinybert.tasks.metrics import score_task
from tinybert.tasks.task import Encoding, TaskInfo, read_info, read_split, write_task

pytestmark = pytest.mark.slow  # answers go through every stage in test_other_tokenizers too

KINDS = {"several": "multilabel", "tags": "tokens", "answers": "span"}
SYSTEMS = ("closed_form_mini", "scratch_mini")
NAMES = {"cat": "ANIMAL", "dog": "ANIMAL", "bird": "ANIMAL", "roof": "PLACE", "house": "PLACE"}
TASK_FILES = {
    "several": {
        "kind": "multilabel",
        "files": {"train": "several.jsonl"},
        "columns": {"sentence1": "text", "label": "labels"},
        "max_length": 8,
        "long": "windows",
    },
    "tags": {
        "kind": "tokens",
        "files": {"train": "tags.conll", "format": "conll"},
        "max_length": 9,
    },
    "answers": {
        "kind": "span",
        "files": {"train": "answers.json", "format": "squad"},
        "max_length": 24,
        "metrics": ["squad_f1", "exact_match"],
    },
}


def write_several(file: Path) -> None:
    """Write texts whose labels are the animals and places in them; some have none."""
    rows = []
    for text in sentences(80, 2):
        labels = sorted({NAMES[word] for word in text.split() if word in NAMES})
        rows.append(json.dumps({"text": text, "labels": labels}))
    file.write_text("\n".join(rows) + "\n")


def write_tags(file: Path) -> None:
    """Write words with IOB1 tags, in CoNLL's columns."""
    lines = ["-DOCSTART- O", ""]
    for text in sentences(80, 3):
        lines += [f"{word} {f'I-{NAMES[word]}' if word in NAMES else 'O'}" for word in text.split()]
        lines.append("")
    file.write_text("\n".join(lines) + "\n")


def write_answers(file: Path) -> None:
    """Write questions of which word stands fourth in a passage; of every fourth there is none."""
    paragraphs = []
    for number, text in enumerate(sentences(80, 4)):
        answer = text.split()[3]
        place = sum(len(word) + 1 for word in text.split()[:3])
        qa = {"id": f"q{number}", "question": "the cat", "is_impossible": number % 4 == 0}
        qa["answers"] = [] if number % 4 == 0 else [{"text": answer, "answer_start": place}]
        paragraphs.append({"context": f"{text}  {text}", "qas": [qa]})
    content = {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}
    file.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Run the stages of every kind once; tests look at what they left."""
    folder = make_workspace(tmp_path_factory.mktemp("workspace"))
    raw = folder / "data/raw/tasks"
    write_several(raw / "several.jsonl")
    write_tags(raw / "tags.conll")
    write_answers(raw / "answers.json")
    for task, content in TASK_FILES.items():
        write_yaml(folder / f"params/tasks/{task}.yaml", content)
    params = {"tasks": list(TASK_FILES), "systems": list(SYSTEMS)}
    edit_yaml(folder / "params.yaml", **params)
    for system in SYSTEMS:
        exported = system == "closed_form_mini"
        edit_yaml(folder / f"params/systems/{system}.yaml", shape=SHAPE, export=exported)
    profile = folder / "params/profiles/tiny.yaml"
    edit_section(profile, "finetune_teacher", num_epochs=60.0, max_steps=120, learning_rates=[5e-3])
    with chdir(folder):
        for stage in ("prepare_corpus", "fetch_teacher", "word_vectors"):
            run_stage(stage)
        for system in SYSTEMS:
            run_stage("general_distill", system)
        for task in TASK_FILES:
            for stage in ("prepare_task", "finetune_teacher", "augment", "teacher_logits"):
                run_stage(stage, task)
            for system in SYSTEMS:
                for stage in ("intermediate_distill", "prediction_distill", "evaluate", "export"):
                    run_stage(stage, system, task)
        for system in SYSTEMS:
            run_stage("benchmark_latency", system)
            for task in TASK_FILES:
                run_stage("model_card", system, task)
        run_stage("report")
        (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
        run_stage("track")
        yield folder


def encoding_of(task: str, info: TaskInfo) -> Encoding:
    length = TASK_FILES[task]["max_length"]
    return Encoding(info.kind, info.num_outputs, length, "windows", length // 4)


@pytest.mark.parametrize("task", TASK_FILES)
def test_a_student_has_the_head_of_its_task(workspace, task):
    info = read_info(workspace / "data/tasks" / task)
    assert info.kind == KINDS[task]
    for system in SYSTEMS:
        model = load_classifier(workspace / "models/prediction" / system / task)
        assert model.config.num_labels == info.num_outputs
        if info.labels:
            assert list(model.config.id2label.values()) == info.labels
    thresholds = saved_decision(model.config, info, "student").thresholds
    assert (thresholds is not None) == (task == "several")
    assert (model.config.to_dict().get("null_threshold") is not None) == (task == "answers")


@pytest.mark.parametrize("task", TASK_FILES)
def test_the_teacher_learns_what_the_text_shows(workspace, task):
    scores = read_results(["teacher"], [task], workspace / "reports").scores
    found = scores["teacher", task].metrics["dev"]
    assert found[read_info(workspace / "data/tasks" / task).metrics[0]] > 0.5


@pytest.mark.parametrize("task", TASK_FILES)
def test_scores_are_those_of_the_prediction_files(workspace, task):
    folder = workspace / "data/tasks" / task
    info = read_info(folder)
    for system in ("teacher", *SYSTEMS):
        place = workspace / "reports/predictions" / system / task
        file = json.loads((workspace / f"reports/metrics/{system}/{task}.json").read_text())
        found = recomputed(predictions_file(place, "dev", info), folder, "dev", info)
        assert found == pytest.approx(file["metrics"]["dev"], abs=1e-9)
        assert file["parts"]["dev"]


@pytest.mark.parametrize("task", TASK_FILES)
def test_predictions_are_the_saved_models_with_its_saved_thresholds(workspace, task):
    folder = workspace / "data/tasks" / task
    info = read_info(folder)
    student = workspace / "models/prediction/closed_form_mini" / task
    model = load_classifier(student)
    split = read_task_split(folder, "dev", load_tokenizer(student), encoding_of(task, info), info)
    assert len(split.rows) > len(split.frame)  # some rows have several windows
    logits = predict_logits(model, split.rows, None)
    ours = split.predictions(logits, saved_decision(model.config, info, "student"))
    file = predictions_file(workspace / f"reports/predictions/closed_form_mini/{task}", "dev", info)
    written = read_predictions(file, read_split(folder, "dev"), info, "dev")
    assert [np.asarray(each).tolist() for each in ours] == [
        np.asarray(each).tolist() for each in written
    ]
    assert score_task(info, ours, split.gold)[info.metrics[0]] >= 0


def test_the_report_and_the_cards_read_what_was_written(workspace):
    card = ModelCard.load(workspace / "models/student/closed_form_mini/tags/README.md")
    assert card.data.pipeline_tag == "token-classification" and "ANIMAL" in card.text
    page = (workspace / "reports/index.html").read_text()
    assert "ANIMAL" in page and "with an answer" in page
    metrics = json.loads((workspace / "reports/metrics/teacher/tags.json").read_text())
    assert metrics["confusion_labels"] == ["ANIMAL", "PLACE", "none"]
    assert sum(map(sum, metrics["confusion"]["dev"])) > 0


def test_a_long_row_is_read_to_its_end(workspace):
    folder = workspace / "data/tasks/tags"
    info = read_info(folder)
    student = workspace / "models/prediction/closed_form_mini/tags"
    split = read_task_split(folder, "dev", load_tokenizer(student), encoding_of("tags", info), info)
    assert split.rows.places is not None
    words = split.frame["word_starts"].map(len).sum()
    assert int((split.rows.places >= 0).sum()) == words  # each word is scored once
    cut = encoding_of("tags", info)._replace(long="cut")
    fewer = read_task_split(folder, "dev", load_tokenizer(student), cut, info)
    assert 0 < int((fewer.rows.places >= 0).sum()) < words
    logits = np.zeros((len(fewer.rows.ids), info.num_outputs), np.float32)
    logits[:, 1] = 1.0
    tags = fewer.predictions(logits)
    assert {int(row[-1]) for row in tags} == {0}  # a word that was cut off is O
    assert {int(row[0]) for row in tags} == {1}


def test_the_teachers_logits_are_stored_for_what_is_scored(workspace):
    sizes = {}
    for task in TASK_FILES:
        folder = workspace / "data/teacher_logits" / task
        logits, ends = np.load(folder / "logits.npy"), np.load(folder / "ends.npy")
        assert len(logits) == ends[-1] and (np.diff(ends, prepend=0) > 0).all()
        sizes[task] = len(logits) / len(ends)
    assert sizes["several"] >= 1.0
    assert sizes["tags"] > 8 and sizes["answers"] > 16  # tokens of a row


@pytest.mark.parametrize("task", TASK_FILES)
def test_a_fitted_head_without_a_step_answers_better_than_chance(workspace, task):
    start = json.loads((workspace / f"reports/start/closed_form_mini-{task}.json").read_text())
    assert start["start"] == "closed_form"
    assert start["score"][read_info(workspace / "data/tasks" / task).metrics[0]] > 0.2
    assert {each["map"] for each in start["maps"]} >= {"logits"}


@pytest.mark.parametrize("task", TASK_FILES)
def test_the_doctor_knows_a_good_teacher(workspace, task):
    info = read_info(workspace / "data/tasks" / task)
    teacher, folder = workspace / "models/teacher" / task, workspace / "data/tasks" / task
    with chdir(workspace):
        seen = look_at(teacher, folder, encoding_of(task, info), None, task_classifier)
    assert seen.has_head and not seen.untrained_head
    assert all(each.level != "wrong" for each in judge(seen, info, teacher))


def test_the_doctor_refuses_tags_that_are_exchanged_and_answers_that_are_none(workspace, tmp_path):
    for task, spoil in (("tags", exchange), ("answers", forget)):
        model = load_classifier(workspace / "models/teacher" / task)
        spoil(model)
        spoilt = tmp_path / task
        model.save_pretrained(spoilt)
        load_tokenizer(workspace / "models/teacher" / task).save_pretrained(spoilt)
        folder = workspace / "data/tasks" / task
        info = read_info(folder)
        # All rows of train: a tenth of 80 is too few to judge by.
        rows = read_split(folder, "train")
        whole = tmp_path / f"{task}_rows"
        whole.mkdir()
        more = info.model_copy(update={"num_rows": {"train": len(rows), "dev": len(rows)}})
        write_task(whole, more, {"train": rows, "dev": rows})
        with chdir(tmp_path):
            seen = look_at(spoilt, whole, encoding_of(task, info), None, task_classifier)
        lines = [each.line for each in judge(seen, more, spoilt) if each.level == "wrong"]
        assert lines and task in lines[0], (task, seen, info.labels)


def exchange(model) -> None:
    """Let ANIMAL's outputs and PLACE's change places."""
    with torch.no_grad():
        order = [0, 3, 4, 1, 2]
        model.classifier.weight.copy_(model.classifier.weight[order].clone())
        model.classifier.bias.copy_(model.classifier.bias[order].clone())


def forget(model) -> None:
    """Let the first and the last token be the same ones for every question."""
    with torch.no_grad():
        model.qa_outputs.weight.zero_()
        model.qa_outputs.bias.fill_(0.5)


def test_a_model_of_another_head_is_refused(workspace):
    info = read_info(workspace / "data/tasks/tags")
    with pytest.raises(InputError, match=r"must be one for TokenClassification, since tags is of"):
        task_classifier(workspace / "models/teacher/several", info)
