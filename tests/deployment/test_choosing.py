"""Which shapes are compared, what they lose, and which one a limit leaves."""

import dataclasses
import math

import numpy as np
import pytest

from stages._choose import as_frame
from tests.fixtures.measured import task_info
from tests.fixtures.models import tiny_classifier, tiny_config, tiny_distilbert
from tests.fixtures.slow import slow_but
from tests.fixtures.splits import split_with
from tinybert.deployment.choosing import (
    Candidate,
    Judge,
    candidate_shapes,
    choose_candidate,
    lost_answers,
    measure_shapes,
    new_student,
    require_reachable,
    system_file,
)
from tinybert.evaluation.prediction import predict_logits
from tinybert.runtime.errors import InputError
from tinybert.settings.systems import Shape
from tinybert.text.encoded import EncodedRows


def shape(layers: int, width: int) -> Shape:
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 4 * width}
    return Shape(**sizes, num_attention_heads=4, dropout=0.0)


def candidate(layers: int, width: int, ms: float, lost: float, score: float = 0.5) -> Candidate:
    return Candidate(shape(layers, width), 1000, ms, lost, score)


def random_rows(count: int, seed: int) -> EncodedRows:
    """Rows of 10 tokens of the tiny vocabulary."""
    ids = np.random.default_rng(seed).integers(5, 30, size=10 * count, dtype=np.int32)
    ends = np.arange(10, 10 * count + 1, 10)
    return EncodedRows(ids, ends, np.full(count, 10, dtype=np.int32), {})


def test_minilms_shapes_keep_its_heads_and_are_narrower_and_no_deeper():
    sizes = {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12}
    shapes = candidate_shapes(tiny_config(**sizes, intermediate_size=1536))
    found = {(each.num_hidden_layers, each.hidden_size) for each in shapes}
    assert found == {(layers, width) for layers in (1, 2, 3, 4, 6) for width in (96, 192, 288)}
    assert {each.num_attention_heads for each in shapes} == {12}
    assert all(each.intermediate_size == 4 * each.hidden_size for each in shapes)


def test_a_distilberts_shapes_have_its_feed_forwards_share_of_the_width():
    assert {
        of.intermediate_size / of.hidden_size for of in candidate_shapes(tiny_distilbert())
    } == {2.0}


@pytest.mark.parametrize(("layers", "width", "heads"), [(2, 24, 4), (12, 768, 12), (4, 20, 5)])
def test_no_shape_is_larger_than_the_teacher(layers, width, heads):
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    shapes = candidate_shapes(tiny_config(**sizes))
    assert shapes
    for each in shapes:
        assert each.num_hidden_layers <= layers and each.hidden_size < width
        assert each.hidden_size % heads == 0


CLASSES = split_with(task_info("mine", ["bad", "good"], ["accuracy"], pair=False), [0, 1])
VALUES = split_with(task_info("sts", [], ["spearman"], pair=False), [0.0, 1.0])


def test_what_is_lost_is_the_divergence_from_the_teachers_answers():
    ours, theirs = np.log([[0.5, 0.5], [0.2, 0.8]]), np.log([[0.25, 0.75], [0.2, 0.8]])
    by_hand = (0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)) / 2
    shifted = ours.astype(np.float32) + 3  # logits have no zero
    assert lost_answers(shifted, theirs, CLASSES) == pytest.approx(by_hand, rel=1e-5)
    assert lost_answers(theirs, theirs, CLASSES) == pytest.approx(0, abs=1e-9)


def test_of_values_it_is_the_share_of_their_variance():
    theirs = np.array([[1.0], [3.0]])  # variance 1
    assert lost_answers(theirs + 0.5, theirs, VALUES) == pytest.approx(0.25)


def test_the_one_that_loses_least_within_the_limit_is_chosen():
    all_of_them = [candidate(1, 24, 1.0, 0.5), candidate(2, 24, 2.0, 0.3), candidate(3, 24, 3, 0.1)]
    assert choose_candidate(all_of_them, 2.0).name == "2x24"  # at most
    assert choose_candidate(all_of_them, 100).name == "3x24"
    slower = candidate(4, 24, 1.5, 0.3)
    assert choose_candidate([*all_of_them, slower], 2.5).name == "4x24"  # as good and faster


def test_a_limit_that_no_shape_reaches_names_the_fastest():
    shapes, times = [shape(2, 24), shape(1, 24)], [2.0, 1.25]
    with pytest.raises(InputError, match=r"at most 1 ms a row here, got 1.25 ms .* 1x24"):
        require_reachable(shapes, times, 1.0)
    require_reachable(shapes, times, 1.25)


def test_the_table_is_by_time_and_marks_what_none_beats_in_both():
    table = as_frame([candidate(3, 24, 3, 0.1), candidate(1, 24, 1, 0.3), candidate(2, 24, 2, 0.4)])
    assert table["shape"].tolist() == ["1x24", "2x24", "3x24"]
    assert table["front"].tolist() == [True, False, True]


def test_a_shape_as_large_as_the_teacher_loses_nothing_and_a_smaller_one_something():
    teacher = tiny_classifier(num_labels=3).eval()
    teacher.classifier.weight.data.mul_(100)  # answers that differ from row to row
    rows, dev = random_rows(200, 0), random_rows(40, 1)
    info = task_info("mine", ["bad", "good", "fine"], ["accuracy"], pair=False)
    gold = predict_logits(teacher, dev, None).argmax(axis=1)
    split = dataclasses.replace(split_with(info, gold), rows=dev)
    judge = Judge(teacher, rows, split, "uniform", 0)
    theirs = teacher.config
    full = shape(theirs.num_hidden_layers, theirs.hidden_size).model_copy(
        update={"intermediate_size": theirs.intermediate_size}
    )
    same, less = judge(full, 1.0), judge(shape(1, 8), 0.5)
    assert same.lost < 0.05 * less.lost
    assert same.score > less.score and less.ms == 0.5
    student = new_student(shape(1, 8), teacher, 0)
    assert less.parameters == sum(each.numel() for each in student.parameters())
    assert student.config.num_labels == 3 and student.config.vocab_size == theirs.vocab_size


@pytest.mark.parametrize("engine", slow_but(["pytorch_fp32"], ["pytorch_fp32", "onnx_int8"]))
def test_each_shape_is_timed_as_it_will_run(engine, monkeypatch):
    seen = {}

    def timed(engines, batches, *_):
        (batch,) = batches
        for name, one in engines.items():
            one.run(one.prepare(batch))
            seen[name] = tuple(batch["input_ids"].shape)
        return {name: [5.0, 1.0 + int(name), 0.0] for name in engines}

    monkeypatch.setattr("tinybert.deployment.choosing.measure_engines", timed)
    shapes, made = [shape(1, 8), shape(2, 8)], []
    times = measure_shapes(
        shapes, tiny_classifier(), engine, 12, 1, 0, advance=lambda: made.append(1)
    )
    assert times == [1.0, 2.0]  # medians
    assert seen == {"0": (1, 12), "1": (1, 12)} and len(made) == 2


def test_the_systems_file_takes_over_the_phases_and_leaves_the_recipe_as_it_was():
    recipe = {"description": "old", "shape": {"num_hidden_layers": 9}, "export": True}
    found = system_file(recipe, shape(2, 8), 1.234, "a row")
    assert found["description"] == "closed form, 2x8: 1.23 ms a row" and found["export"]
    assert Shape(**found["shape"]) == shape(2, 8)
    assert recipe["description"] == "old" and recipe["shape"] == {"num_hidden_layers": 9}
