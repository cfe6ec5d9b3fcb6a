"""The plain method is ours where nothing is padded and dropout does nothing."""

import copy

import pytest

from benchmarks.plain_method import PlainLayers, PlainPrediction, train_plainly
from tests.closed_form.test_closed_form import some_rows
from tests.fixtures.models import tiny_batch, tiny_classifier, tiny_encoder
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.losses import prediction_loss
from tinybert.distillation.teacher import Teacher

OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TERMS = {"attention": 1.0, "hidden": 1.0, "embedding": 1.0}


def pair(**teachers):
    return tiny_encoder(1, hidden_size=12, num_hidden_layers=1, **OFF), tiny_encoder(0, **teachers)


def whole_row():
    return {name: of[:1] for name, of in tiny_batch().items()}


@pytest.mark.parametrize("padded", [False, True])
def test_layers_are_compared_as_ours_are_but_for_padding(padded):
    student, teacher = pair(**OFF)
    plain = PlainLayers(student, copy.deepcopy(teacher), [2], keeps_graph=False)
    ours = Distillation(student, TERMS, Teacher(teacher), [2])
    ours.projections.load_state_dict(plain.projections.state_dict())
    batch = tiny_batch() if padded else whole_row()
    found, expected = float(plain(batch)), float(ours(**batch)["loss"])
    assert (found == pytest.approx(expected, rel=1e-4)) is not padded


def test_dropout_is_on_in_the_teacher_and_its_graph_is_kept_where_asked():
    student, teacher = pair(hidden_dropout_prob=0.5)
    plain = PlainLayers(student.eval(), teacher.eval(), [2], keeps_graph=True)
    batch = whole_row()
    first, second = plain(batch), plain(batch)
    assert float(first) != float(second)
    first.backward()
    assert teacher.embeddings.word_embeddings.weight.grad is not None


def test_the_soft_cross_entropy_is_divided_by_the_classes():
    student, teacher = (tiny_classifier(3, seed=seed, **OFF) for seed in (0, 1))
    batch = tiny_batch()
    ours = prediction_loss(student(**batch).logits, teacher(**batch).logits)
    plain = PlainPrediction(student, teacher)(batch)
    assert float(plain) == pytest.approx(float(ours) / 3, rel=1e-5)


def test_training_plainly_lowers_the_loss_on_rows_padded_to_full_length():
    student, teacher = pair(**OFF)
    model = PlainLayers(student, teacher, [2], keeps_graph=False)
    seen, rows = [], some_rows(64)
    model.register_forward_hook(lambda _, given, loss: seen.append((given[0], float(loss))))
    train_plainly(model, rows, 60, 3e-3, 32, 8, 0)
    assert {tuple(batch["input_ids"].shape) for batch, _ in seen} == {(8, 32)}
    losses = [loss for _, loss in seen]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
