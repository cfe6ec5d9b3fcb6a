"""Entities and their scores are those of conlleval; places are those of the text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.scheme import IOB2, Entities

from tinybert.tasks.entities import (
    count_entities,
    entities_of,
    entity_metrics,
    entity_scores,
    go_on,
    possible_order,
    to_spans,
)

LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def test_an_inside_that_goes_on_nothing_begins_an_entity():
    tags = ["I-PER", "I-PER", "I-LOC", "O", "B-LOC", "I-LOC", "B-LOC", "I-PER"]
    assert entities_of(tags) == [
        ("PER", 0, 1),
        ("LOC", 2, 2),
        ("LOC", 4, 5),
        ("LOC", 6, 6),
        ("PER", 7, 7),
    ]
    assert entities_of([]) == []
    assert entities_of(["B-a-b", "I-a-b"]) == [("a-b", 0, 1)]


def test_words_inside_of_a_piece_go_on_what_it_is_of():
    tags, inside = np.array([3, 0, 0, 0, 1, 0]), np.array([1, 2, 5])
    assert go_on(tags, inside, LABELS).tolist() == [3, 4, 4, 0, 1, 2]
    assert go_on(np.array([1, 0]), np.array([1]), ["O", "NOUN"]).tolist() == [1, 1]


def test_an_entity_is_right_with_its_type_and_both_borders():
    gold = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    predicted = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = entity_scores(gold, predicted)
    # As in seqeval's README: of two, one is right; the other begins a word too early.
    assert found.overall == (0.5, 0.5, 0.5, 2)
    assert found.by_type == {"MISC": (0.0, 0.0, 0.0, 1), "PER": (1.0, 1.0, 1.0, 1)}


def test_scores_by_hand():
    gold = [["B-A", "O", "B-A", "B-B"], ["B-A"]]
    predicted = [["B-A", "B-A", "B-B", "B-B"], ["O"]]
    found = entity_scores(gold, predicted)
    # Right: A at 0, B at 3. Predicted 4, gold 4.
    assert found.overall == (0.5, 0.5, 0.5, 4)
    # A: 1 of 2 predicted, 1 of 3 gold, F1 = 2 * 1 / (2 + 3). B: 1 of 2, 1 of 1, F1 = 2 / 3.
    assert found.by_type["A"] == pytest.approx((1 / 2, 1 / 3, 2 / 5, 3))
    assert found.by_type["B"] == pytest.approx((1 / 2, 1, 2 / 3, 1))


def test_nothing_found_is_no_score_and_another_number_of_words_is_refused():
    assert entity_scores([["O"]], [["O"]]).overall == (0.0, 0.0, 0.0, 0)
    assert entity_scores([["B-A"]], [["O"]]).overall == (0.0, 0.0, 0.0, 1)
    assert entity_scores([["O"]], [["B-A"]]).by_type == {"A": (0.0, 0.0, 0.0, 0)}
    with pytest.raises(ValueError, match="same words"):
        entity_scores([["O", "O"]], [["O"]])


tags = st.lists(st.sampled_from(LABELS), min_size=1, max_size=8)


@given(st.lists(tags, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_scores_are_counts_of_equal_entities(gold, random):
    predicted = [[random.choice(LABELS) for _ in row] for row in gold]
    found = entity_scores(gold, predicted).overall
    of_gold, of_predicted = (
        {(number, *entity) for number, row in enumerate(rows) for entity in entities_of(row)}
        for rows in (gold, predicted)
    )
    right = len(of_gold & of_predicted)
    assert found.support == len(of_gold)
    assert found.recall == pytest.approx(right / max(1, len(of_gold)))
    assert found.precision == pytest.approx(right / max(1, len(of_predicted)))


def test_metrics_take_numbers():
    gold, predicted = [[3, 4, 0], [1]], [[3, 4, 0], [0]]
    assert entity_metrics(gold, predicted, LABELS) == pytest.approx(
        {"entity_f1": 2 / 3, "entity_precision": 1.0, "entity_recall": 0.5}
    )
    # Tags without prefixes: a word each, but for O. Right: NN at 0; predicted 2, gold 3.
    found = entity_metrics([[1, 1, 2, 0]], [[1, 2, 0, 0]], ["O", "NN", "VB"])
    assert (found["entity_precision"], found["entity_recall"]) == pytest.approx((1 / 2, 1 / 3))


def test_entities_are_counted_in_the_labels_order():
    assert count_entities([[3, 4, 3], [0]], LABELS) == {"LOC": 0, "PER": 2}
    assert count_entities([[1, 1, 0]], ["O", "NN", "VB"]) == {"NN": 2, "VB": 0}


def test_spans_are_places_of_the_text():
    text = "Ann saw New  York."
    starts, ends = [0, 4, 8, 13, 17], [3, 7, 11, 17, 18]
    assert to_spans(text, starts, ends, ["B-PER", "O", "B-LOC", "I-LOC", "O"]) == [
        {"start": 0, "end": 3, "label": "PER", "text": "Ann"},
        {"start": 8, "end": 17, "label": "LOC", "text": "New  York"},
    ]
    with pytest.raises(ValueError, match="for each word"):
        to_spans(text, starts, ends, ["O"])


@given(st.lists(st.integers(0, 4), max_size=12))
def test_predicted_tags_in_a_possible_order_are_the_same_entities_in_both_modes(tags):
    labels = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    found = possible_order(np.array(tags, dtype=np.int64), labels)
    names = [labels[number] for number in found]
    assert entities_of(names) == entities_of([labels[number] for number in tags])
    strict = Entities([names], scheme=IOB2).entities[0]
    assert [(each.tag, each.start, each.end - 1) for each in strict] == entities_of(names)


def test_an_i_after_another_type_begins_an_entity():
    labels = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert possible_order(np.array([2, 2, 4, 0, 4]), labels).tolist() == [1, 2, 3, 0, 3]
    assert possible_order(np.array([1, 0]), ["O", "NOUN"]).tolist() == [1, 0]
