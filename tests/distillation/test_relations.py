"""Relations (MiniLMv2): an independent plain form, properties, and where they are read."""

import pandas as pd
import pytest
import torch
from torch import Tensor

from tests.fixtures.models import tiny_batch, tiny_classifier, tiny_encoder
from tests.fixtures.training import (
    SCHEDULE,
    KilledError,
    counted,
    rows_of,
    run_in,
    same,
    weights_of,
)
from tinybert.distillation import losses, teacher_states, terms
from tinybert.distillation.distillation import Distillation, require_relation_heads
from tinybert.distillation.losses import relations_loss
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_states import use_stored_states
from tinybert.distillation.together import Together
from tinybert.encoders.signals import QueryKeyValue, read_signals, record_relations
from tinybert.runtime.errors import InputError
from tinybert.settings.systems import LayerPhase, Relation
from tinybert.text.batching import collate
from tinybert.training.run import last_checkpoint
from tinybert.training.training import train

WIDTHS = [(12, 12, 1), (12, 20, 4), (6, 24, 3), (24, 6, 6)]  # student, teacher, relation heads


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=[1 << 20, 30, 3], ids=["whole", "rows", "row"])
def at_once(request, monkeypatch):
    """Make maps whole, a few rows at a time, a row at a time."""
    monkeypatch.setattr(losses, "RELATIONS_AT_ONCE", request.param)


def mask_of(tokens=7) -> Tensor:
    return torch.arange(tokens) < torch.tensor([[tokens - 1], [tokens // 2]])


def relations(width, tokens=7) -> QueryKeyValue:
    return QueryKeyValue(*torch.randn(3, 2, tokens, width).requires_grad_())


def plain(ours, theirs, mask, heads) -> Tensor:
    """Return the loss row by row, of real tokens alone."""
    total, count = 0, 0
    for row, real in enumerate(mask):
        count += int(real.sum()) * heads
        for x_S, x_T in zip(ours, theirs, strict=True):
            for S, T in zip(
                x_S[row, real].chunk(heads, 1), x_T[row, real].chunk(heads, 1), strict=True
            ):
                R_S, R_T = (torch.softmax(x @ x.T / x.shape[1] ** 0.5, 1) for x in (S, T))
                total = total + (R_T * (R_T / R_S).log()).sum()
    return total / count


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("ours", "theirs", "heads"), WIDTHS)
def test_loss_and_gradient_equal_the_plain_form(ours, theirs, heads):
    student, teacher, mask = relations(ours), relations(theirs), mask_of()
    found, expected = (of(student, teacher, mask, heads) for of in (relations_loss, plain))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(3 * found, student),
        torch.autograd.grad(3 * expected, student),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_hand_value():
    # One head, two tokens, width 1. Student's scores 0: probabilities 1/2. Teacher's values are 1
    # and 0: scores (1, 0) and (0, 0), so R_T = (e, 1) / (e + 1) and (1/2, 1/2). KL of row 1:
    # 0.7310586 ln(2 * 0.7310586) + 0.2689414 ln(2 * 0.2689414) = 0.1109439; over two tokens half.
    zero = torch.zeros(1, 2, 1)
    teacher = QueryKeyValue(zero, zero, torch.tensor([[[1.0], [0.0]]]))
    found = relations_loss(QueryKeyValue(zero, zero, zero), teacher, torch.ones(1, 2).bool(), 1)
    assert found.item() == pytest.approx(0.1109439 / 2, rel=1e-5)


@pytest.mark.usefixtures("at_once")
def test_equal_relations_give_zero_and_no_gradient():
    student, mask = relations(12), mask_of()
    found = relations_loss(student, QueryKeyValue(*(x.detach() for x in student)), mask, 4)
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert all(bool((g.abs() < 1e-7).all()) for g in torch.autograd.grad(found, student))


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("value", [7.0, float("inf"), float("nan")])
def test_padding_changes_nothing_and_gets_no_gradient(value):
    student, teacher, mask = relations(12), relations(12), mask_of()

    def padded(of, filled_with):
        wider = (torch.nn.functional.pad(x, (0, 0, 0, 2), value=filled_with) for x in of)
        return QueryKeyValue(*wider)

    wider_mask = torch.nn.functional.pad(mask, (0, 2))
    found = relations_loss(padded(student, value), padded(teacher, 3.0), wider_mask, 4)
    expected = relations_loss(student, teacher, mask, 4).item()
    assert found.item() == pytest.approx(expected, rel=1e-5)
    for gradient in torch.autograd.grad(found, student):
        assert torch.equal(gradient.abs().sum(2) > 0, mask)


def test_an_orthogonal_map_within_a_relation_head_changes_nothing():
    student, teacher, mask = relations(12), relations(12), mask_of()
    turns = [torch.linalg.qr(torch.randn(3, 3)).Q for _ in range(4)]
    turned = QueryKeyValue(*(x @ torch.block_diag(*turns) for x in student))
    expected = relations_loss(student, teacher, mask, 4).item()
    assert relations_loss(turned, teacher, mask, 4).item() == pytest.approx(expected, rel=1e-4)
    across = QueryKeyValue(*(x @ torch.linalg.qr(torch.randn(12, 12)).Q for x in student))
    assert relations_loss(across, teacher, mask, 4).item() != pytest.approx(expected, rel=1e-2)


def test_no_map_is_kept_for_backward():
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel()) or x, lambda x: x
    ):
        relations_loss(relations(12, 100), relations(12, 100), mask_of(100), 4)
    assert max(kept) <= 2 * 100 * 12


def test_widths_and_tokens_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="5 relation heads"):
        relations_loss(relations(10), relations(12), mask_of(), 5)
    with pytest.raises(ValueError, match="shape"):
        relations_loss(relations(12), relations(12, 8), mask_of(), 4)
    with pytest.raises(InputError, match=r"width 12 and the teacher's 20, got 3.*one of 1, 2, 4$"):
        require_relation_heads(12, 20, 3)
    with pytest.raises(InputError, match="at most the teacher's 6 layers, got 7"):
        LayerPhase(terms=["relations"], relation_layer=7).relation(6)


def teacher() -> Teacher:
    return Teacher(tiny_classifier(seed=1, num_hidden_layers=4, hidden_size=32))


UPPER = Relation(3, 4)


def distillation(of, relation=UPPER) -> Distillation:
    torch.manual_seed(3)
    student = tiny_encoder(num_hidden_layers=1, num_attention_heads=3, hidden_dropout_prob=0.0)
    return Distillation(student, {"relations": 1.0}, of, [4], relation=relation)


def test_relations_are_of_the_layer_asked_for_with_heads_joined():
    model, batch = tiny_encoder(seed=1).eval(), tiny_batch()
    assert record_relations(model) == 24
    found = read_signals(model, batch, relations=[2], hidden=True)
    state = found.hidden[1]
    for part, x in found.relations[2]._asdict().items():
        expected = getattr(model.encoder.layer[1].attention.self, part)(state)
        torch.testing.assert_close(x, expected)


def test_the_term_needs_no_equal_heads_widths_or_depths_and_trains_the_student():
    model = distillation(teacher())
    found = model(**tiny_batch())
    found["loss"].backward()
    assert found["loss/relations"] > 0
    query = model.student.encoder.layer[0].attention.self.query.weight.grad
    assert query is not None and bool(query.any())
    assert distillation(teacher(), Relation(4, 4))(**tiny_batch())["loss"] != found["loss"]


def test_heads_that_do_not_divide_are_refused_before_training():
    with pytest.raises(InputError, match="relation_heads: must divide the student's width 24"):
        distillation(teacher(), Relation(4, 5))


def test_stored_states_and_students_side_by_side_give_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_states, "BYTES_PER_SECOND", 1e15)
    rows, live = rows_of(20), distillation(teacher()).eval()
    signals, stored, decision = use_stored_states(
        teacher(), rows, [], [0, 4], 50.0, 1.0, tmp_path, [3]
    )
    assert decision.store
    expected = live(**collate([rows[n] for n in (3, 11)], 0))["loss"].item()
    batch = collate([stored[n] for n in (3, 11)], 0)
    assert distillation(signals).eval()(**batch)["loss"].item() == pytest.approx(expected, rel=1e-5)
    shared = teacher()
    students = {"one": distillation(shared), "other": distillation(shared, Relation(4, 2))}
    both = Together(students).eval()(**collate([rows[n] for n in (3, 11)], 0))
    assert both["one | loss"].item() == pytest.approx(expected, rel=1e-6)


def test_a_run_that_matches_relations_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_states, "BYTES_PER_SECOND", 1e15)

    def trained(folder, seed=0):
        signals, rows, decision = use_stored_states(
            teacher(), rows_of(), [], [0, 4], 50.0, 1.0, folder / "states", [3]
        )
        assert decision.store
        student = tiny_encoder(seed, num_hidden_layers=1, num_attention_heads=3)
        model = Distillation(student, {"relations": 1.0}, signals, [4], relation=UPPER)
        history, _ = train(model, rows, 0, SCHEDULE, run_in(folder, log_steps=2))
        return weights_of(model), history

    expected, whole = trained(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        counted(patch, terms, "relations_loss", dies=18)  # of 24, after the checkpoint at 15
        trained(tmp_path / "cut")
    assert last_checkpoint(tmp_path / "cut/checkpoints").endswith("checkpoint-15")
    found, history = trained(tmp_path / "cut", seed=5)  # its own first weights must not matter
    assert same(found, expected)
    assert (history["loss/relations"] > 0).all()
    pd.testing.assert_frame_equal(history, whole, check_exact=True)
