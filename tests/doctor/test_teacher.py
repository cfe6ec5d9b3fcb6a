"""Swapped, unfinetuned and reversed teachers are refused with the cure; weak honest ones pass."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertForSequenceClassification

from tests.fixtures.measured import task_info
from tests.fixtures.models import save_pretrained, tiny_config, tiny_tokenizer
from tests.fixtures.workspace import REVIEWS, sentences
from tinybert.doctor.checkup import look_at_teacher
from tinybert.doctor.teacher import Seen, judge
from tinybert.encoders.classifier import task_classifier
from tinybert.settings.reader import parse
from tinybert.tasks.task import write_task
from tinybert.tasks.task_file import TaskFile

NUM_ROWS = {"train": 400, "dev": 200}
INFO = task_info("reviews", ["bad", "good"], ["accuracy"], pair=False, num_rows=NUM_ROWS)
SCORES = INFO.model_copy(update={"kind": "regression", "labels": [], "metrics": ["spearman"]})
TASK = parse(TaskFile, REVIEWS, "reviews")
FOLDER = Path("models/teacher/reviews")
NAMES = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}


def judged(table, **changes):
    rows = int(np.sum(table))
    accuracy = np.trace(np.array(table)) / rows
    seen = {"has_head": True, "num_rows": rows, "scores": {"accuracy": accuracy}, "table": table}
    return judge(Seen(**{**seen, **changes}), INFO, FOLDER)


def lines(found, level):
    return [each.line for each in found if each.level == level]


def test_a_good_teacher_shows_its_score():
    assert judged([[80, 20], [20, 80]]) == [("right", "teacher's dev accuracy 0.800 (200 rows)")]


def test_swapped_outputs_are_wrong_and_name_the_file_to_correct():
    (line,) = lines(judged([[20, 80], [80, 20]]), "wrong")
    assert "got outputs [good, bad] that behave like [bad, good]" in line
    assert "accuracy 0.20; so exchanged it would be 0.80" in line
    assert "correct id2label in models/teacher/reviews/config.json" in line


@pytest.mark.parametrize("table", [[[49, 51], [50, 50]], [[0, 100], [0, 100]]])
def test_one_no_better_than_chance_is_wrong_and_names_the_cure(table):
    (line,) = lines(judged(table), "wrong")
    assert "the teacher is not fine-tuned for reviews, got dev accuracy" in line
    assert "most frequent label gives 0.50" in line
    assert "dvc repro finetune_teacher@reviews" in line
    assert ("naming one label only" in line) == (table[0][0] == 0)


def test_a_weak_one_that_mostly_names_one_label_passes_with_a_doubt():
    # MRPC's margins: 135 of 400 are no paraphrases; 5 of the 6 so named are.
    found = judged([[5, 130], [1, 264]])
    assert lines(found, "wrong") == []
    assert "hardly better than chance" in lines(found, "doubt")[0]


def test_few_rows_are_a_doubt_whatever_they_say():
    found = judged([[0, 24], [25, 0]])
    assert lines(found, "wrong") == []
    assert "only 49 dev rows" in lines(found, "doubt")[0]


def test_a_head_that_was_never_trained_is_wrong_even_where_it_agrees_a_little():
    (line,) = lines(judged([[60, 40], [40, 60]], untrained_head=True), "wrong")
    assert "a head whose bias is 0 as it was made" in line
    assert not lines(judged([[95, 5], [5, 95]], untrained_head=True), "wrong")


@pytest.mark.parametrize(
    ("correlation", "expected"),
    [(0.3, ""), (0.02, "no better than scores at random"), (-0.4, "scores are reversed")],
)
def test_scores_must_rise_with_the_gold_ones(correlation, expected):
    # Of 400 independent rows the deviation is 1 / sqrt(399) = 0.05: 6, 0.4 and -8 deviations.
    seen = {"has_head": True, "num_rows": 400, "scores": {"spearman": correlation}}
    found = lines(judge(Seen(**seen, correlation=correlation), SCORES, FOLDER), "wrong")
    assert [expected in line for line in found] == ([True] if expected else [])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A task whose label is its row's last word, and a teacher that has learnt it."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "task").mkdir()
    splits = {"train": frame_of(400, seed=1), "dev": frame_of(200, seed=2)}
    write_task(folder / "task", INFO, splits)
    tokenizer = tiny_tokenizer(folder / "teacher")
    torch.manual_seed(0)
    model = BertForSequenceClassification(tiny_config(**NAMES))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    inputs = tokenizer(splits["train"]["sentence1"].tolist(), padding=True, return_tensors="pt")
    for _ in range(12):
        loss = model(**inputs, labels=torch.tensor(splits["train"]["label"].to_numpy())).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder / "teacher")
    tokenizer.save_pretrained(folder / "teacher")
    return folder


def frame_of(num_rows, seed) -> pd.DataFrame:
    words = ["bad", "good"]
    labels = np.random.default_rng(seed).integers(0, 2, num_rows)
    texts = sentences(num_rows, seed)
    texts = [f"{words[label]} {text}" for text, label in zip(texts, labels, strict=True)]
    return pd.DataFrame({"sentence1": texts, "label": labels})


def looked_at(prepared, teacher, monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return look_at_teacher(teacher, prepared / "task", TASK, None)


def saved(prepared, folder, change) -> Path:
    model = BertForSequenceClassification.from_pretrained(prepared / "teacher")
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    tiny_tokenizer(folder).save_pretrained(folder)
    return folder


def test_a_finetuned_teacher_is_right_and_looked_at_once(prepared, monkeypatch, tmp_path):
    found = looked_at(prepared, prepared / "teacher", monkeypatch, tmp_path)
    assert [each.level for each in found] == ["right"] * 3
    assert "teacher's dev accuracy" in found[0].line
    monkeypatch.setattr("tinybert.doctor.teacher._look", None)  # not called again
    assert looked_at(prepared, prepared / "teacher", monkeypatch, tmp_path) == found


@pytest.mark.parametrize("text", ["", "{}", '{"has_head": true, "table": "?"}'])
def test_what_cannot_be_read_is_looked_at_again(prepared, text, monkeypatch, tmp_path):
    found = looked_at(prepared, prepared / "teacher", monkeypatch, tmp_path)
    (file,) = tmp_path.glob("checkpoints/doctor/*/teacher.json")
    file.write_text(text)
    assert looked_at(prepared, prepared / "teacher", monkeypatch, tmp_path) == found
    assert Seen.model_validate_json(file.read_text()).has_head


def test_other_code_of_the_doctor_looks_again(prepared, monkeypatch, tmp_path):
    looked_at(prepared, prepared / "teacher", monkeypatch, tmp_path)
    (tmp_path / "teacher.py").write_text("other code")
    monkeypatch.setattr("tinybert.doctor.teacher.__file__", str(tmp_path / "teacher.py"))
    looked_at(prepared, prepared / "teacher", monkeypatch, tmp_path)
    assert len(list(tmp_path.glob("checkpoints/doctor/*/teacher.json"))) == 2


def test_a_teacher_whose_outputs_are_exchanged_is_wrong(prepared, monkeypatch, tmp_path):
    def exchange(model):
        for weight in (model.classifier.weight, model.classifier.bias):
            weight.copy_(weight.flip(0).clone())

    folder = saved(prepared, tmp_path / "teacher", exchange)
    (line,) = lines(looked_at(prepared, folder, monkeypatch, tmp_path), "wrong")
    assert f"correct id2label in {folder}/config.json" in line


def test_a_pretrained_encoder_with_a_new_head_is_wrong(monkeypatch, tmp_path, prepared):
    torch.manual_seed(3)
    BertForSequenceClassification(tiny_config(**NAMES)).save_pretrained(tmp_path / "teacher")
    tiny_tokenizer(tmp_path / "teacher").save_pretrained(tmp_path / "teacher")
    (line,) = lines(looked_at(prepared, tmp_path / "teacher", monkeypatch, tmp_path), "wrong")
    assert "the teacher is not fine-tuned for reviews" in line


def test_a_checkpoint_without_a_head_is_wrong(prepared, monkeypatch, tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    (line,) = lines(looked_at(prepared, folder, monkeypatch, tmp_path), "wrong")
    assert "a checkpoint without a classifier's weights; run `dvc repro" in line


def test_label_names_in_another_order_are_wrong(prepared, monkeypatch, tmp_path):
    def rename(model):
        model.config.id2label = {0: "good", 1: "bad"}

    folder = saved(prepared, tmp_path / "teacher", rename)
    (line,) = lines(looked_at(prepared, folder, monkeypatch, tmp_path), "wrong")
    assert "got good, bad; expected bad, good" in line


def test_looking_leaves_a_loaded_teachers_file_alone(prepared, monkeypatch, tmp_path):
    before = (prepared / "teacher/model.safetensors").read_bytes()
    looked_at(prepared, prepared / "teacher", monkeypatch, tmp_path)
    assert (prepared / "teacher/model.safetensors").read_bytes() == before
    assert task_classifier(prepared / "teacher", INFO).config.num_labels == 2
