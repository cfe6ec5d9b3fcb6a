"""The report of several labels, tags and answers: examples in words, scores by part, confusions."""

import numpy as np
import pandas as pd
import pytest

from tinybert.evaluation.prediction_files import write_predictions
from tinybert.evaluation.probabilities import objects
from tinybert.reports.page import parts_tables
from tinybert.reports.results import Results, TaskScores
from tinybert.reports.shown_rows import answer_text, read_examples
from tinybert.tasks.entities import entity_confusion
from tinybert.tasks.metrics import main_metric, score_task
from tinybert.tasks.task import TaskInfo, write_task
from tinybert.tasks.words import join_words

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
PASSAGE = "Tea came to  Europe in 1610."


def info_of(kind: str, labels: list[str], metrics: list[str]) -> TaskInfo:
    rows = {"train": 1, "dev": 3}
    pair = kind == "span"
    return TaskInfo(name="t", kind=kind, labels=labels, metrics=metrics, pair=pair, num_rows=rows)


def tagged() -> tuple[TaskInfo, pd.DataFrame]:
    words = [join_words(text.split()) for text in ("Ann met Bo Li", "in New York", "no names here")]
    frame = pd.DataFrame(
        {
            "sentence1": [of.text for of in words],
            "word_starts": [np.array(of.starts) for of in words],
            "word_ends": [np.array(of.ends) for of in words],
            "label": objects([np.array(t) for t in ([3, 0, 3, 4], [0, 1, 2], [0, 0, 0])]),
        }
    )
    return info_of("tokens", TAGS, ["entity_f1", "entity_precision", "entity_recall"]), frame


def asked() -> tuple[TaskInfo, pd.DataFrame]:
    answers = [[{"start": 23, "text": "1610"}], [], [{"start": 13, "text": "Europe"}]]
    frame = pd.DataFrame(
        {
            "sentence1": ["When?", "Who?", "Where?"],
            "sentence2": [PASSAGE] * 3,
            "id": ["a", "b", "c"],
            "label": objects(answers),
        }
    )
    return info_of("span", [], ["squad_f1", "exact_match"]), frame


def several() -> tuple[TaskInfo, pd.DataFrame]:
    labels = objects([np.array([0, 1]), np.array([], int), np.array([1])])
    frame = pd.DataFrame({"sentence1": ["x", "y", "z"], "label": labels})
    return info_of("multilabel", ["joy", "love"], ["f1_micro", "f1_macro"]), frame


# Of each kind: the task with its rows, a teacher's answers, a student's, what stands beside.
CASES = {
    "tokens": (tagged, [[3, 0, 3, 4], [0, 1, 2], [0, 0, 0]], [[3, 0, 1, 2], [0, 1, 0], [0, 0, 0]]),
    "span": (asked, ["1610", "", "Europe"], ["in 1610", "Tea", "Europe"]),
    "multilabel": (several, [[0, 1], [], [1]], [[0], [1], [1]]),
}


@pytest.mark.parametrize("kind", CASES)
def test_examples_are_in_words_with_what_is_wrong(tmp_path, kind):
    make, theirs, ours = CASES[kind]
    info, frame = make()
    (tmp_path / "data").mkdir()
    write_task(tmp_path / "data", info, {"train": frame[:1], "dev": frame})
    for system, found in (("teacher", theirs), ("small", ours)):
        folder = tmp_path / f"predictions/{system}/t"
        folder.mkdir(parents=True)
        answers = objects([np.array(of) if isinstance(of, list) else of for of in found])
        write_predictions(
            folder,
            "dev",
            frame,
            info,
            answers,
            np.zeros((3, 2), np.float32)[:, 0] if kind == "span" else np.zeros((3, 2), np.float32),
        )
    examples = read_examples(info, tmp_path / "data", tmp_path / "predictions", ["small"])
    assert len(examples) == 3
    by_gold = {each.gold: {a.system: (a.text, a.right) for a in each.answers} for each in examples}
    expected = {
        "tokens": ("Ann (PER), Bo Li (PER)", "Ann (PER), Bo Li (LOC)"),
        "span": ("1610", "in 1610"),
        "multilabel": ("joy, love", "joy"),
    }
    gold, student = expected[kind]
    assert by_gold[gold] == {"teacher": (gold, True), "small": (student, False)}
    nothing = "no answer" if kind == "span" else "none"
    assert by_gold[nothing]["teacher"] == (nothing, True)


def test_a_passage_is_shown_around_its_answer():
    info, frame = asked()
    assert answer_text("", frame.iloc[0], info) == "no answer"


@pytest.mark.parametrize("kind", CASES)
def test_the_main_metric_of_all_rows_is_the_tasks_score(kind):
    make, _, ours = CASES[kind]
    info, frame = make()
    answers = objects([np.array(of) if isinstance(of, list) else of for of in ours])
    gold = frame["label"].to_numpy()
    quick = main_metric(info, answers, gold)
    whole = score_task(info, answers, gold)[info.metrics[0]]
    assert 0 < whole < 1
    assert quick(np.arange(3)) == pytest.approx(whole)
    twice = np.array([0, 0, 2])
    expected = score_task(info, answers[twice], gold[twice])[info.metrics[0]]
    assert quick(twice) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews"])
def test_the_main_metric_of_rows_drawn_twice_is_the_score_of_these_rows(metric):
    info = info_of("classification", ["no", "yes"], [metric, "f1_macro"])
    gold, answers = np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 1, 1])
    drawn = np.array([0, 0, 1, 2, 4])
    expected = score_task(info, answers[drawn], gold[drawn])[metric]
    assert main_metric(info, answers, gold)(drawn) == pytest.approx(expected)


def test_types_are_confused_only_where_both_borders_are_found():
    gold, named = CASES["tokens"][1:]
    names, counts = entity_confusion(gold, named, TAGS)
    assert names == ["LOC", "PER", "none"]
    # Bo Li is taken for a place; New York's end is missed: one entity lost, another one made up.
    assert counts.tolist() == [[0, 0, 1], [1, 1, 0], [1, 0, 0]]


def test_a_type_may_be_called_as_no_entity_is():
    _, counts = entity_confusion([[1], [0]], [[1], [2]], ["O", "B-none", "B-PER"])
    assert counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_parts_stand_side_by_side():
    parts = {"PER": {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 2}}
    more = parts | {"LOC": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4}}
    scores = {
        (system, "t"): TaskScores(main_metric="entity_f1", metrics={}, parts={"dev": of})
        for system, of in (("teacher", parts), ("small", more))
    }
    results = Results(systems=["small"], tasks=["t"], scores=scores, latency={}, exports={})
    ((title, (heads, rows)),) = parts_tables(results).items()
    assert title == "t, dev: precision / recall / F1"
    assert heads == [" ", "number", "teacher", "small"]
    assert rows[0] == ["PER", "2", "50.0 / 100.0 / 66.7", "50.0 / 100.0 / 66.7"]
    assert rows[1][0] == "LOC" and rows[1][3] == "100.0 / 50.0 / 66.7"
