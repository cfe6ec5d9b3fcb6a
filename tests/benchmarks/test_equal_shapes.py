"""Shapes that cost as much as another one: of each depth the nearest."""

import pandas as pd
from transformers import BertConfig, BertForSequenceClassification

from benchmarks import equal_shapes
from benchmarks.equal_shapes import summary, width_of_cost
from tinybert.settings.systems import Shape

REFERENCE = Shape(
    num_hidden_layers=3,
    hidden_size=192,
    intermediate_size=768,
    num_attention_heads=12,
    dropout=0.0,
)


def test_a_width_of_a_cost_lies_between_those_measured():
    widths = [72, 144, 288]
    # Half way from 2 to 4 ms lies half way from 144 to 288: 216 is a multiple of 12.
    assert width_of_cost(REFERENCE, widths, [1.0, 2.0, 4.0], 3.0) == 216
    assert width_of_cost(REFERENCE, widths, [1.0, 2.0, 4.0], 2.9) == 204  # of 208.8
    assert width_of_cost(REFERENCE, widths, [1.0, 2.0, 4.0], 9.0) == 288
    assert width_of_cost(REFERENCE, widths, [1.0, 0.9, 4.0], 0.95) == 72  # noise, made ascending


def test_equal_shapes_cost_what_the_reference_does(monkeypatch):
    def timed(shapes, *_):  # a shape's time: as if a layer cost its width
        return [of.num_hidden_layers * of.hidden_size / 100 for of in shapes]

    monkeypatch.setattr(equal_shapes, "measure_shapes", timed)
    sizes = {"num_hidden_layers": 4, "hidden_size": 384, "vocab_size": 2000}
    teacher = BertForSequenceClassification(BertConfig(**sizes))
    found = equal_shapes.measure(REFERENCE, teacher, "pytorch_fp32", 64)
    assert [of.shape for of in found["milliseconds"]] == ["1x384", "2x288", "3x192", "4x144"]
    counts = [of.parameters for of in found["parameters"]]
    assert max(counts) < 1.06 * min(counts)
    assert [of.ms for of in found["milliseconds"]] == [3.84, 5.76, 5.76, 5.76]


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
