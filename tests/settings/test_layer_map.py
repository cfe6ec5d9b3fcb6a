"""The paper's layer maps, for any two depths."""

import pytest

from tests.fixtures.refused import refused
from tinybert.settings.layer_map import teacher_layers


@pytest.mark.parametrize(
    ("layer_map", "expected"),
    [
        ("uniform", [3, 6, 9, 12]),  # g(m) = 3m, TinyBERT4
        ("top", [9, 10, 11, 12]),  # g(m) = m + 8
        ("bottom", [1, 2, 3, 4]),  # g(m) = m
        ([1, 1, 5, 12], [1, 1, 5, 12]),
    ],
)
def test_four_layers_learn_from_twelve_as_in_the_paper(layer_map, expected):
    assert teacher_layers(layer_map, 4, 12) == expected


def test_six_layers_learn_from_every_other_one():
    assert teacher_layers("uniform", 6, 12) == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("num_teacher", range(1, 25))
def test_uniform_maps_are_increasing_and_end_at_the_last_layer(num_teacher):
    for num_student in range(1, num_teacher + 1):
        layers = teacher_layers("uniform", num_student, num_teacher)
        assert layers == sorted(set(layers))
        assert layers[0] >= 1
        assert layers[-1] == num_teacher


def test_a_deeper_student_meets_each_teacher_layer_equally_often():
    assert teacher_layers("uniform", 24, 12) == [n for n in range(1, 13) for _ in range(2)]


@pytest.mark.parametrize(
    ("layer_map", "num_student", "message"),
    [
        ([3, 6, 9], 4, "got 3 for 4 student layers"),
        ([0, 6, 9, 12], 4, "got 0; layers count from 1"),
        ([3, 6, 9, 13], 4, "got 13"),
        ("top", 13, "got 13 and 12"),
        ("bottom", 13, "got 13 and 12"),
    ],
)
def test_a_map_that_does_not_fit_is_refused_in_one_line(layer_map, num_student, message):
    assert message in refused(teacher_layers, layer_map, num_student, 12)
