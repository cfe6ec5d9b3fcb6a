"""The service answers questions as the evaluation does, over the windows of a passage."""

import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.deployment.test_service_kinds import make_folder
from tests.deployment.test_stock_transformers import facts_of, run_card
from tests.fixtures.kinds import TEXTS, encoding_of, frame_of, info_of, model_of
from tests.fixtures.models import WORDS, tiny_tokenizer
from tinybert.deployment.service import Classifier, make_app
from tinybert.evaluation.decision import Decision
from tinybert.evaluation.prediction import predict_logits, task_split
from tinybert.reports.model_card import copy_with_card

PASSAGES = [*TEXTS, " ".join(WORDS), " ".join(reversed(WORDS * 2))]
QUESTIONS = ["he saw ?", "the dog", "a", "where was it ?", "cat", " ".join(WORDS[:20])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, export_once) -> Path:
    place = tmp_path_factory.mktemp("bundle") / "span"
    return make_folder(place, export_once, model_of("span"), encoding_of("span"), pair=True)


def answers(folder: Path, encoding, null_threshold: float | None) -> list[dict]:
    about = {"name": "tiny-mine", "pair": True, **encoding._asdict()}
    (folder / "bundle.json").write_text(json.dumps(about))
    config = json.loads((folder / "config.json").read_text())
    config["null_threshold"] = null_threshold
    (folder / "config.json").write_text(json.dumps(config))
    bodies = [
        {"question": question, "context": passage}
        for question, passage in zip(QUESTIONS, PASSAGES, strict=True)
    ]
    with TestClient(make_app(Classifier(folder))) as client:
        return [client.post("/answer", json=body).json() for body in bodies]


def split_of(folder: Path, encoding):
    frame = frame_of("span", QUESTIONS, PASSAGES)
    return task_split(frame, tiny_tokenizer(folder), encoding, info_of("span", len(frame)))


@pytest.mark.parametrize(("stride", "longest"), [(0, 30), (4, 3), (6, 1)])
def test_answers_are_those_of_the_evaluation(folder, tmp_path, stride, longest):
    encoding = encoding_of(
        "span", max_length=24, long="windows", stride=stride, max_answer_length=longest
    )
    split = split_of(tmp_path, encoding)
    logits = predict_logits(model_of("span"), split.rows, None)
    best = split.best_answers(logits)
    margins = np.sort(best.null_odds)
    for threshold in (1e6, float(margins[2:4].mean())):
        expected = split.predictions(logits, Decision(null_threshold=threshold))
        found = answers(folder, encoding, threshold)
        assert [each["answer"] or "" for each in found] == list(expected)
        assert (threshold < 1e6) == ("" in expected)
        for each, passage in zip(found, PASSAGES, strict=True):
            if each["answer"] is not None:
                assert passage[each["start"] : each["end"]] == each["answer"]
        np.testing.assert_allclose([each["score"] for each in found], best.scores, atol=1e-4)
        nulls = [each["null_score"] for each in found]
        np.testing.assert_allclose(nulls, best.null_scores, atol=1e-4)
    assert ["cut" in each for each in found] == [False] * 5 + [True]  # the long question


def test_without_a_threshold_there_is_always_an_answer(folder):
    found = answers(folder, encoding_of("span", long="windows", stride=4), None)
    assert all(each["answer"] for each in found)


def test_a_passage_without_a_token_has_no_answer(folder):
    with TestClient(make_app(Classifier(folder))) as client:
        found = client.post("/answer", json={"question": "the cat ?", "context": " "}).json()
    assert (found["answer"], found["start"], found["score"]) == (None, None, None)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"question": "a"}, "context: Field required"),
        ({"question": "", "context": "a"}, "question: String should have at least 1 character"),
        ({"text": "a"}, "Field required"),
        ([], 'application/json; right is {"question": "who?", "context": "a passage"}'),
    ],
)
def test_what_is_no_question_gets_one_line(folder, body, line):
    with TestClient(make_app(Classifier(folder))) as client:
        answer = client.post("/answer", json=body)
        assert answer.status_code == 422
        assert line in answer.json()["error"] and "\n" not in answer.json()["error"]
        assert client.get("/health").json()["labels"] == []


def test_the_lines_of_the_card_answer_as_the_evaluation_does(tmp_path):
    model, encoding = model_of("span", seed=1), encoding_of("span", max_length=32, long="windows")
    tokenizer = tiny_tokenizer(tmp_path / "source")
    question, passage = "where was it ?", PASSAGES[1]
    frame = frame_of("span", [question], [passage])
    split = task_split(frame, tokenizer, encoding, info_of("span", 1))
    logits = predict_logits(model, split.rows, None)
    best = split.best_answers(logits)
    margin = float((best.null_odds)[0])
    for threshold in (margin - 1, margin + 1):
        (expected,) = split.predictions(logits, Decision(null_threshold=threshold))
        model.config.null_threshold = threshold
        model.save_pretrained(tmp_path / "source")
        tokenizer.save_pretrained(tmp_path / "source")
        copy_with_card(
            tmp_path / "source", facts_of("span", tmp_path / "source"), tmp_path / "made"
        )
        asked = [('"a question"', repr(question))]
        asked.append(('"a passage that fits into 32 tokens with it"', repr(passage)))
        found = run_card(tmp_path / "made", "", *asked)
        assert found == (expected or "None")
