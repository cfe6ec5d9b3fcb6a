"""SQuAD's metrics against cases worked out by hand from the rules of its script."""

import pytest

from tinybert.tasks.squad_metrics import exact_match, f1, normalized, squad_parts, squad_scores


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat,\tsat!", "cat sat"),
        ("a an the", ""),
        ("A-b", "ab"),  # punctuation goes first: no article stands alone in "ab"
        ("an.the", "anthe"),
        ("Theory of a theatre", "theory of theatre"),
        ("the\u2014end", "\u2014end"),  # a dash of Unicode is no punctuation, but parts words
        ("\u00c9COLE\u00a01", "\u00e9cole 1"),  # a no-break space is white space
        ("$1,000.50", "100050"),
        ("", ""),
    ],
)
def test_answers_are_normalized_by_the_scripts_rules(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "overlap"),
    [
        ("the Cat.", ["cat"], 1, 1),
        # Two of three words found, two of two wanted: P 2/3, R 1, F1 0.8.
        ("big black cat", ["black cat"], 0, 0.8),
        # Words count as often as they stand: common 1, P 1/2, R 1/3, F1 0.4.
        ("no no", ["no way out"], 0, 0.4),
        ("cat dog", ["dog cat"], 0, 1),  # their order does not count for F1
        ("cat", ["dog", "a cat sat", "cat"], 1, 1),  # the best of several
        ("cat", ["dog", "cat sat"], 0, 2 / 3),
        ("dog", ["cat"], 0, 0),
        ("", ["cat"], 0, 0),
        ("", [], 1, 1),  # unanswerable
        ("cat", [], 0, 0),
        ("The.", [], 1, 1),  # nothing is left of it
        ("the", ["cat"], 0, 0),
        ("", ["the", "cat"], 0, 0),  # "the" is empty, and left out
        ("", ["the"], 1, 1),  # nothing else is there: the empty answer is right
        ("\u5317\u4eac", ["\u5317\u4eac"], 1, 1),
        ("Beyonc\u00e9", ["Beyonce"], 0, 0),
        # Of scripts without spaces a character is a word: 2 of 4 found, 2 of 2 wanted, F1 2/3.
        ("北京大学", ["北京"], 0, 2 / 3),
        ("《北京》。", ["北京"], 1, 1),
        ("iPhone 手机", ["iPhone手机"], 1, 1),
        ("«Москва»", ["Москва"], 0, 0),  # elsewhere the script's rules stand
    ],
)
def test_an_answer_scores_as_worked_out_by_hand(prediction, golds, exact, overlap):
    assert exact_match(prediction, golds) == exact
    assert f1(prediction, golds) == pytest.approx(overlap)


def test_scores_are_means_over_questions_and_over_those_with_and_without_answer():
    predictions = ["big black cat", "", "dog", "cat"]
    golds = [["black cat"], ["cat"], [], ["the cat", "dog"]]
    # F1 0.8, 0, 0, 1; exact 0, 0, 0, 1. With an answer: the first two and the last.
    found = squad_scores(predictions, golds)
    assert found == {"squad_f1": pytest.approx(1.8 / 4), "exact_match": 0.25}
    assert squad_parts(predictions, golds) == {
        "HasAns_squad_f1": pytest.approx(1.8 / 3),
        "HasAns_exact_match": pytest.approx(1 / 3),
        "NoAns_squad_f1": 0,
        "NoAns_exact_match": 0,
    }


def test_a_part_without_questions_is_left_out():
    assert set(squad_parts(["a"], [[]])) == {"NoAns_squad_f1", "NoAns_exact_match"}
    # A question whose answers are articles alone has answers all the same, as in the script.
    assert set(squad_parts([""], [["the"]])) == {"HasAns_squad_f1", "HasAns_exact_match"}


@pytest.mark.parametrize(("predictions", "golds"), [([], []), (["a"], [])])
def test_scores_need_questions_and_an_answer_for_each(predictions, golds):
    with pytest.raises(ValueError):
        squad_scores(predictions, golds)
