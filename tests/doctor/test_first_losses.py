"""First losses beside their known good ranges."""

import numpy as np
import pytest

from tests.fixtures.models import tiny_classifier
from tinybert.distillation.distillation import Distillation
from tinybert.doctor.first_losses import compare, ranges_for, read_ranges
from tinybert.text.encoded import EncodedRows

RANGES = {"general_distill": {"attention": (0.5, 8.0), "embedding": (0.1, 2.0)}}


def test_terms_of_layers_are_means_over_them_and_one_without_range_says_so():
    # 9 summed over 3 layers is 3 a layer; the embedding has one.
    terms = {"loss": 12.0, "loss/attention": 9.0, "loss/embedding": 1.5, "loss/new": 1.5}
    (found,) = compare("general_distill", terms, 3, RANGES)
    assert found.level == "right"
    assert found.line == (
        "first losses: attention 3 (good: 0.5 to 8), embedding 1.5 (good: 0.1 to 2), "
        "new 1.5 (no known range)"
    )


def test_a_loss_outside_is_a_doubt_with_a_hint():
    _, found = compare("general_distill", {"loss/attention": 90.0}, 3, RANGES)
    assert found.level == "doubt"
    assert found.line.startswith("first attention loss 30 is above 0.5 to 8: are the layer map")
    _, found = compare("general_distill", {"loss/attention": 0.3}, 3, RANGES)
    assert "0.1 is below" in found.line


def test_the_ranges_in_the_file_are_in_order():
    for terms in read_ranges().values():
        assert all(0 <= low < high for low, high in terms.values())


def distilled(num_labels, weights, kind="classification"):
    student = tiny_classifier(num_labels=num_labels)
    return Distillation(student, weights, kind=kind)


def rows_with(**targets) -> EncodedRows:
    count = len(next(iter(targets.values())))
    ends = np.arange(1, count + 1)
    return EncodedRows(np.zeros(count, np.int32), ends, np.ones(count, np.int32), targets)


@pytest.mark.parametrize("scale", [5.0, 100.0])
def test_scores_are_judged_by_their_own_size(scale):
    # Of scores spread evenly from 0 to s, mean^2 + variance is s^2 / 4 + s^2 / 12 = s^2 / 3.
    scores = np.linspace(0, scale, 1001, dtype=np.float32)
    model = distilled(1, {"label": 1.0, "prediction": 1.0}, kind="regression")
    rows = rows_with(labels=scores, teacher_logits=scores[:, None])
    ranges = ranges_for("prediction_distill", model, rows)
    expected = scale**2 / 3
    terms = {"loss/label": expected, "loss/prediction": 1.2 * expected}
    (found,) = compare("prediction_distill", terms, 1, ranges)
    assert found.level == "right"
    _, found = compare("prediction_distill", {"loss/label": 4 * expected}, 1, ranges)
    assert found.line.startswith("first label loss")


def test_many_classes_start_higher_than_two():
    # Of 1000 classes a student that knows nothing has a loss of ln 1000 = 6.9.
    labels = np.arange(1000)
    model = distilled(1000, {"label": 1.0})
    ranges = ranges_for("prediction_distill", model, rows_with(labels=labels))
    terms = {"loss/label": float(np.log(1000))}
    assert [each.level for each in compare("prediction_distill", terms, 1, ranges)] == ["right"]


def test_a_student_that_knows_the_task_already_is_no_doubt():
    model = distilled(2, {"label": 1.0})
    ranges = ranges_for("prediction_distill", model, rows_with(labels=np.array([0, 1])))
    found = compare("prediction_distill", {"loss/label": 0.01}, 1, ranges)
    assert [each.level for each in found] == ["right"]
