"""What a step asks of a GPU stays within bounds, and no step waits for it."""

from pathlib import Path

import pytest
import torch

from benchmarks import kernels, shapes, step_kernels
from benchmarks.options import Options
from tests.fixtures.models import tiny_batch, tiny_classifier
from tests.fixtures.training import rows_of
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.teacher import Teacher

# Of BERT-base and TinyBERT4's 12 and 4 layers. A layer more would be 13 of a teacher, 48 of both.
AT_MOST = {None: 495, torch.bfloat16: 642}


@pytest.fixture(scope="module", params=AT_MOST)
def counted(request) -> tuple[torch.dtype | None, kernels.Counts]:
    teacher = Teacher(shapes.encoder(shapes.configs("thin")[0]), request.param)
    model = shapes.layer_student("thin", teacher)
    return request.param, step_kernels.counts_of_step(model, rows_of(40), request.param)


def test_a_step_asks_for_no_more_kernels_than_it_did(counted):
    dtype, counts = counted
    assert sum(counts.kernels.values()) <= AT_MOST[dtype], counts.by_part
    assert counts.by_part["bookkeeping"] <= 9
    assert counts.by_part["clipping"] <= 8
    assert counts.copies <= 4  # token ids, mask, segments, the usual batch


def test_no_step_waits_for_the_device(counted):
    _, counts = counted
    assert not counts.waits


def test_a_step_on_labels_waits_for_nothing():
    counts = step_kernels.counts_of_step(
        Distillation(tiny_classifier(), {"label": 1.0}), rows_of(40), None
    )
    assert not counts.waits


@pytest.mark.parametrize(
    "read",
    [
        lambda values: values.sum().item(),
        lambda values: bool(values.any()),
        lambda values: values.nonzero(),
        lambda values: values[values > 0],
        lambda values: values.tolist(),
        lambda values: values.cpu(),
    ],
)
def test_whatever_reads_a_value_is_seen_to_wait(read):
    values = torch.ones(3)
    with kernels.counting() as found:
        read(values)
    assert sum(found.counts.waits.values()) == 1


def test_views_are_no_kernels_and_whatever_makes_values_is_one():
    values = torch.ones(3, 4)
    with kernels.counting() as found:
        values.mT.reshape(-1)[2:].detach()  # a copy: a transposed matrix has no flat view
        torch.empty(3)
        values + 1
    assert sum(found.counts.kernels.values()) == 2


def test_counts_shapes_and_calls_are_told_beside_the_plain_steps(monkeypatch):
    monkeypatch.setattr(step_kernels.texts, "task_rows", lambda options, task: (task, rows_of(80)))
    monkeypatch.setattr(step_kernels, "ROUNDS", 1)
    monkeypatch.setitem(shapes.SHAPES, "bert", shapes.SHAPES["thin"])
    found = step_kernels.measure(Options("bert", None, None, None, 2, Path()))
    ours, _, plain, mrpc, _, calls, _ = found
    # The plain step has no weighing, but four times the losses, maps of attention and no rounding.
    assert ours.more["kernels"] < plain.more["kernels"]
    assert plain.more["waits"] == 2  # each model looks whether its mask is full
    # Rows of 5 to 12 tokens: multiples are 8 and 16; a last batch has fewer rows.
    assert mrpc.more["by tokens, multiples of 8"] <= 3
    assert calls.seconds > 0


def test_a_model_computes_the_same_whether_or_not_its_mask_may_be_looked_at(monkeypatch):
    full = {name: value[:1, :3] for name, value in tiny_batch().items()}
    model = Distillation(tiny_classifier().eval(), {"label": 1.0}).eval()
    for batch in (tiny_batch(), full):
        seen = model.student(**batch).logits
        with monkeypatch.context() as patch:
            patch.setattr("tinybert.runtime.precision.reads_at_once", lambda device: False)
            unseen = model.student(**batch).logits
        torch.testing.assert_close(seen, unseen)
