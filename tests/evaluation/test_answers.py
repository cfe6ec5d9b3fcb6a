"""Answers out of logits: the best pair and the best threshold, against trying all of them."""

import json

import numpy as np
import pytest

from tinybert.evaluation.answers import (
    ALWAYS_ANSWER,
    FAR,
    Answers,
    answer_texts,
    best_answers,
    choose_null_threshold,
)

Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]


def windows(*parts: tuple[int, list[tuple[float, float]], list[tuple[int, int]]]) -> Case:
    """Lay windows out: each one's row, the logits and the places of its tokens."""
    origins = np.array([row for row, _, _ in parts])
    logits = np.array([pair for _, part, _ in parts for pair in part], dtype=np.float32)
    places = np.array([place for _, _, part in parts for place in part], dtype=np.int32)
    ends = np.cumsum([len(part) for _, part, _ in parts])
    return logits, ends, origins, places, int(origins.max()) + 1


def random_case(seed: int) -> Case:
    """Random windows of random rows, of which some have none; logits that are often equal."""
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.integers(0, 6, size=generator.integers(1, 9)))
    parts = []
    for row in rows:
        question, passage = generator.integers(0, 3), generator.integers(0, 9)
        begin = int(generator.integers(0, 5))
        places = [(-1, -1)] * (2 + question)
        places += [(begin + 3 * n, begin + 3 * n + 2) for n in range(passage)] + [(-1, -1)]
        logits = generator.integers(-3, 4, size=(len(places), 2)).tolist()
        parts.append((int(row), logits, places))
    logits, ends, origins, places, _ = windows(*parts)
    return logits, ends, origins, places, 7  # the last row never has a window


def tried(case: Case, longest: int) -> list[tuple[int, int, float, float, float]]:
    """Try every pair of every window, in order."""
    logits, ends, origins, places, num_rows = case
    found = []
    for row in range(num_rows):
        best, scores, nulls = (0, 0, -FAR), [], []
        for window in np.flatnonzero(origins == row):
            begin = ends[window - 1] if window else 0
            nulls.append(float(logits[begin].sum()))
            for first in range(begin, ends[window]):
                for last in range(first, ends[window]):
                    if last - first < longest and min(places[first, 0], places[last, 0]) >= 0:
                        score = float(logits[first, 0] + logits[last, 1])
                        scores.append(score)
                        if score > best[2]:
                            best = (int(places[first, 0]), int(places[last, 1]), score)
        null = min(nulls, default=0.0)
        total = np.exp([*scores, null]).sum()
        found.append((*best, null, float(np.exp(best[2]) / total)))
    return found


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("longest", [1, 2, 4, 30])
def test_the_best_answer_is_that_of_trying_all_pairs(seed, longest):
    case = random_case(seed)
    found = best_answers(*case, longest)
    starts, ends, scores, nulls, shares = zip(*tried(case, longest), strict=True)
    assert found.starts.tolist() == list(starts)
    assert found.ends.tolist() == list(ends)
    assert found.scores.tolist() == list(scores)
    assert found.null_scores.tolist() == list(nulls)
    assert found.probabilities == pytest.approx(np.array(shares), abs=1e-12)


OUT = (-1, -1)


def test_an_answer_of_two_windows_worked_out_by_hand():
    # First window: null 1 + 1, best pair 2 + 3 = 5 from character 0 to 5; the better start, 9, is
    # behind the end. Second window: null 0 + 1, best pair 4 + 2 = 6 from 6 to 9.
    case = windows(
        (0, [(1, 1), (8, 8), (2, 0), (0, 3), (9, -9)], [OUT, OUT, (0, 2), (3, 5), (6, 9)]),
        (0, [(0, 1), (0, 0), (0, 3), (4, 2)], [OUT, OUT, (3, 5), (6, 9)]),
    )
    found = best_answers(*case, 30)
    assert (found.starts.tolist(), found.ends.tolist()) == ([6], [9])
    assert (found.scores.tolist(), found.null_scores.tolist()) == ([6], [1])
    assert found.null_odds.tolist() == [-5]


def test_a_long_answer_is_not_given_and_a_token_outside_of_the_passage_never_ends_one():
    case = windows(
        (0, [(0, 0), (5, 0), (0, 1), (0, 5), (0, 9)], [OUT, (0, 1), (2, 3), (4, 5), OUT])
    )
    assert best_answers(*case, 3).ends.tolist() == [5]
    assert best_answers(*case, 2).ends.tolist() == [3]


def test_a_row_without_a_token_of_its_passage_has_the_empty_answer():
    case = windows((0, [(3, 3), (9, 9)], [OUT, OUT]), (1, [(0, 0), (1, 1)], [OUT, (0, 3)]))
    found = best_answers(*case, 30)
    assert answer_texts(["", "cat"], found, ALWAYS_ANSWER) == ["", "cat"]
    assert found.probabilities[0] == 0
    assert np.isfinite(found.null_odds).all()


def test_logits_that_are_no_numbers_give_answers_all_the_same():
    nothing = float("nan")
    case = windows((0, [(nothing, 0), (nothing, 1), (1, 1)], [OUT, (0, 3), (4, 7)]))
    assert answer_texts(["cat sat"], best_answers(*case, 30), ALWAYS_ANSWER) == ["sat"]


def test_no_windows_at_all_give_no_answers():
    nothing = np.empty((0, 2), np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
    found = best_answers(*nothing, np.empty((0, 2), np.int32), 2, 30)
    assert (found.starts.tolist(), found.ends.tolist()) == ([0, 0], [0, 0])


def test_no_answer_is_given_where_the_null_odds_are_above_the_threshold():
    zeros = np.zeros(3)
    spans = np.array([0, 4, 0]), np.array([3, 7, 7])
    answers = Answers(*spans, zeros, np.array([-1.0, 0.5, 2.0]), zeros)
    assert answer_texts(["cat sat"] * 3, answers, 0.5) == ["cat", "sat", ""]
    assert answer_texts(["cat sat"] * 3, answers, -2) == ["", "", ""]


def mean_f1(odds: np.ndarray, f1: np.ndarray, empty: np.ndarray, threshold: float) -> float:
    return float(np.where(odds > threshold, empty, f1).mean())


@pytest.mark.parametrize("seed", range(60))
def test_no_threshold_has_a_better_mean_f1(seed):
    generator = np.random.default_rng(seed)
    size = int(generator.integers(1, 12))
    odds = generator.integers(-4, 5, size) / 2  # often equal
    empty = generator.random(size) < 0.5
    empty[0] = True
    f1 = np.where(empty, 0, generator.integers(0, 4, size) / 3)
    found = choose_null_threshold(odds, f1, empty)
    tries = {each: mean_f1(odds, f1, empty, each) for each in [-9, *np.arange(-3, 3.3, 0.25), 9]}
    assert mean_f1(odds, f1, empty, found) == pytest.approx(max(tries.values()))
    assert choose_null_threshold(odds[::-1], f1[::-1], empty[::-1]) == found
    assert json.loads(json.dumps(found)) == found


def test_the_threshold_stands_halfway_between_neighbours():
    # Answer -3 and 1, not 2: halfway between 1 and 2.
    odds, empty = np.array([2.0, -3.0, 1.0]), np.array([True, False, False])
    assert choose_null_threshold(odds, np.array([0, 1, 1.0]), empty) == 1.5


def test_of_equally_good_thresholds_the_one_nearest_to_0_counts():
    # One row is right where none is answered, at -9, and where both are, at 0; between, none.
    odds, empty = np.array([-8.0, -1.0]), np.array([True, False])
    assert choose_null_threshold(odds, np.array([0, 1.0]), empty) == 0
    # The same with -2 and 5: at -3 and at 6.
    assert choose_null_threshold(odds + 6, np.array([0, 1.0]), empty) == -3


def test_neighbouring_numbers_are_told_apart():
    low = 1.0
    high = np.nextafter(low, 2)
    for odds in ([low, high], [np.nextafter(low, 0), low]):
        found = choose_null_threshold(np.array(odds), np.array([1.0, 0]), np.array([False, True]))
        assert odds[0] <= found < odds[1]


def test_every_question_is_answered_where_every_one_has_an_answer():
    found = choose_null_threshold(np.array([7.0]), np.array([0.0]), np.array([False]))
    assert found == ALWAYS_ANSWER
