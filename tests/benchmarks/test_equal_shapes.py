"""Shapes that cost as much as another one: of each depth the nearest."""

import pandas as pd
from transformers import BertConfig

from benchmarks.equal_shapes import nearest, shapes_to_time, summary, with_size
from tinybert.core.settings.systems import Shape

REFERENCE = Shape(
    num_hidden_layers=3,
    hidden_size=192,
    intermediate_size=768,
    num_attention_heads=12,
    dropout=0.0,
)


def test_of_each_depth_the_nearest_is_taken_and_the_reference_of_its_own():
    shapes = [with_size(REFERENCE, *of) for of in ((1, 240), (1, 336), (3, 180), (6, 96), (6, 144))]
    found = nearest(shapes, [4.0, 5.5, 5.0, 4.0, 9.0], REFERENCE, 5.0)
    sizes = {(of.num_hidden_layers, of.hidden_size) for of in found}
    assert sizes == {(1, 336), (3, 192), (6, 96)}  # 3x180 is nearer than itself, and is not taken


def test_shapes_keep_the_references_proportions_and_fit_the_teacher():
    shapes = shapes_to_time(REFERENCE, BertConfig(num_hidden_layers=4, hidden_size=384))
    assert {of.num_hidden_layers for of in shapes} == {1, 2, 3, 4}
    assert max(of.hidden_size for of in shapes) == 384
    assert all(of.intermediate_size == 4 * of.hidden_size for of in shapes)
    assert all(of.hidden_size % 12 == 0 for of in shapes)


def test_the_table_has_means_and_deviations_of_the_seeds_of_one_number_of_steps():
    times = pd.DataFrame(
        [("parameters", "3x192", 7_330_000, 4.123), ("parameters", "6x168", 7_240_000, 6.0)],
        columns=["equal", "shape", "parameters", "ms"],
    )
    rows = [("mrpc", 500, 1, "3x192", 0.8), ("mrpc", 500, 2, "3x192", 0.82)]
    rows += [("mrpc", 100, 1, "3x192", 0.1), ("sst2", 500, 1, "6x168", 0.9)]
    trained = pd.DataFrame(rows, columns=["task", "steps", "seed", "shape", "score"])
    found = summary(times, trained, 500).set_index("shape")
    assert found.loc["3x192", "mrpc"] == "81.0 ± 1.4"  # the deviation of 80 and 82 is 1.414
    assert found.loc["6x168", "sst2"] == "90.0"
    assert found.loc["3x192", "parameters"] == "7.33M"
