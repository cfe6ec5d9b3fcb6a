"""Predicted tags are written so that other tools read them back."""

import json

import numpy as np
import pandas as pd
import pytest

from tinybert.evaluation.token_predictions import (
    read_conll_predictions,
    write_conll,
    write_jsonl,
)
from tinybert.tasks.conll import read_conll
from tinybert.tasks.spans import read_spans
from tinybert.tasks.task_file import Columns

LABELS = ["O", "B-LOC", "I-LOC"]


def rows(*sentences: tuple[str, list[int], list[int], list[int]]) -> pd.DataFrame:
    columns = ("sentence1", "word_starts", "word_ends", "label")
    frame = pd.DataFrame([dict(zip(columns, row, strict=True)) for row in sentences])
    for name in columns[1:]:
        frame[name] = [np.array(each) for each in frame[name]]
    return frame


FRAME = rows(("In New York", [0, 3, 7], [2, 6, 11], [0, 1, 2]), ("Yes", [0], [3], [0]))
PREDICTED = [np.array([0, 1, 0]), np.array([1])]


def test_conll_has_the_word_its_gold_and_its_predicted_tag(tmp_path):
    write_conll(tmp_path / "p.conll", FRAME, PREDICTED, LABELS)
    assert (tmp_path / "p.conll").read_text() == (
        "In O O\nNew B-LOC B-LOC\nYork I-LOC O\n\nYes O B-LOC\n\n"
    )
    write_conll(tmp_path / "p.conll", FRAME.drop(columns="label"), PREDICTED, LABELS)
    assert (tmp_path / "p.conll").read_text() == "In O\nNew B-LOC\nYork O\n\nYes B-LOC\n\n"


def test_a_word_with_a_space_needs_tabs_and_is_read_back(tmp_path):
    frame = rows(("In New York", [0, 3], [2, 11], [0, 1]))
    write_conll(tmp_path / "p.conll", frame, [[0, 2]], LABELS)
    table = read_conll(tmp_path / "p.conll", Columns(sentence1="0", label="-1"), True)
    assert table.sentence1 == [["In", "New York"]]
    assert table.label == [["O", "I-LOC"]]


@pytest.mark.parametrize(
    ("text", "labels"),
    [("In York", ["O", "B-home town", "I-home town"]), ("In Yo\trk", LABELS), ("In Y k", LABELS)],
)
def test_predictions_are_read_back_whatever_words_and_tags_hold(tmp_path, text, labels):
    frame = rows((text, [0, 3], [2, len(text)], [0, 1]))
    write_conll(tmp_path / "p.conll", frame, [[0, 2]], labels)
    found = read_conll_predictions(tmp_path / "p.conll", frame, labels)
    assert [tags.tolist() for tags in found] == [[0, 2]]


def test_jsonl_has_entities_by_their_places(tmp_path):
    write_jsonl(tmp_path / "p.jsonl", FRAME, PREDICTED, LABELS)
    first, second = map(json.loads, (tmp_path / "p.jsonl").read_text().splitlines())
    assert first["text"] == "In New York"
    assert first["entities"] == [{"start": 3, "end": 6, "label": "LOC", "text": "New"}]
    assert first["gold"] == [{"start": 3, "end": 11, "label": "LOC", "text": "New York"}]
    assert (second["entities"][0]["text"], second["gold"]) == ("Yes", [])
    spans, problems = read_spans(first["gold"], first["text"])  # as a task's file may have them
    assert (spans[0][:2], problems) == ((3, 11), [])
    write_jsonl(tmp_path / "p.jsonl", FRAME.drop(columns="label"), PREDICTED, LABELS)
    assert "gold" not in json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("write", [write_conll, write_jsonl])
def test_another_number_of_tags_is_refused_and_leaves_no_file(tmp_path, write):
    with pytest.raises(ValueError, match="row 1 has 1 words, got 2 tags"):
        write(tmp_path / "p", FRAME, [[0, 0, 0], [0, 0]], LABELS)
    assert list(tmp_path.iterdir()) == []
