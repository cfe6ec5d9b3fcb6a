"""Agreement beyond chance, its deviations, and the order in which outputs behave."""

import math

import numpy as np
import pytest

from tinybert.doctor.agreement import BETTER_THAN_CHANCE, agreement_z, better_order, kappa

# 50 rows of each label; 30 and 40 of them are named right, 70 in all where chance gives 50.
HONEST = np.array([[30, 20], [10, 40]])


def test_kappa_and_z_are_those_derived_by_hand():
    # kappa = (0.7 - 0.5) / (1 - 0.5). Matthews = (30*40 - 20*10) / sqrt(40 * 60 * 50 * 50).
    assert kappa(HONEST) == pytest.approx(0.4)
    assert agreement_z(HONEST) == pytest.approx(1000 / math.sqrt(6_000_000) * math.sqrt(99))


def test_a_classifier_that_names_one_label_agrees_no_more_than_chance():
    constant = np.array([[0, 60], [0, 40]])
    assert kappa(constant) == 0.0
    assert agreement_z(constant) == 0.0
    assert better_order(constant) is None


def test_exchanged_outputs_are_seen_and_honest_ones_are_not():
    assert better_order(HONEST) is None
    assert better_order(HONEST[:, ::-1]) == [1, 0]
    assert better_order(np.array([[0, 50], [50, 0]])) == [1, 0]  # not one exception


def test_of_three_labels_the_two_exchanged_ones_are_named():
    table = np.array([[190, 5, 5], [5, 10, 85], [5, 85, 10]])
    assert better_order(table) == [0, 2, 1]
    assert agreement_z(table) > BETTER_THAN_CHANCE  # half are right, and yet two are exchanged


def test_one_who_mostly_names_the_rarer_label_is_weak_but_not_exchanged():
    # Accuracy 120 of 300: exchanged it would be 180. But of 70 named 0, 60 are 0 (86%), of the 230
    # others 180 are (78%): a little better than chance.
    table = np.array([[60, 180], [10, 50]])
    assert agreement_z(table) > BETTER_THAN_CHANCE
    assert better_order(table) is None


def test_exchanged_outputs_are_seen_where_one_label_is_most_rows():
    # 1,400 of 2,000 agree, but by chance 1,440 do; and not one of the 200 is named right.
    assert better_order(np.array([[1400, 400], [200, 0]])) == [1, 0]


def test_a_weak_but_honest_teacher_is_refused_less_than_once_in_a_thousand_times():
    # Matthews 0.15 with CoLA's margins (31% unacceptable), and half the rows named so.
    shift = 0.15 * math.sqrt(0.31 * 0.69 * 0.5 * 0.5)
    cells = [0.155 + shift, 0.155 - shift, 0.345 - shift, 0.345 + shift]
    tables = np.random.default_rng(0).multinomial(1043, cells, 4000).reshape(-1, 2, 2)
    refused = sum(agreement_z(table) < BETTER_THAN_CHANCE for table in tables)
    assert refused <= 4
    assert not any(better_order(table) for table in tables[:1000])


def test_one_that_guesses_is_taken_for_swapped_less_than_once_in_a_thousand_times():
    tables = np.random.default_rng(1).multinomial(300, [1 / 9] * 9, 3000).reshape(-1, 3, 3)
    assert sum(better_order(table) is not None for table in tables) <= 6  # 3 are expected at most
