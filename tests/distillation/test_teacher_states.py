"""The teacher's stored states stand for its passes, and are stored where arithmetic says so."""

import json

import pytest
import torch
from transformers import BertConfig

from tests.fixtures.models import tiny_classifier, tiny_encoder
from tests.fixtures.training import KilledError, counted, rows_of
from tinybert.distillation import teacher_states
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_states import decide, use_stored_states
from tinybert.text.batching import collate

WEIGHTS = {"attention": 1.0, "hidden": 1.0, "embedding": 1.0}
LAYERS = [2, 4]


@pytest.fixture
def fast_disk(monkeypatch):
    """Make storing pay for a teacher so small that its passes cost next to nothing."""
    monkeypatch.setattr(teacher_states, "BYTES_PER_SECOND", 1e15)


def teacher(dtype=None) -> Teacher:
    return Teacher(tiny_classifier(seed=1, num_hidden_layers=4, hidden_size=32), dtype)


def stored(folder, rows, dtype=None, passes=50.0, attention=LAYERS, gigabytes=1.0):
    hidden = [0, *LAYERS]
    return use_stored_states(teacher(dtype), rows, attention, hidden, passes, gigabytes, folder)


def losses(model, rows, picked) -> dict[str, float]:
    batch = collate([rows[number] for number in picked], 0)
    return {name: value.item() for name, value in model.eval()(**batch).items()}


@pytest.mark.parametrize("weights", [WEIGHTS, {"hidden": 1.0}], ids=["all", "hidden"])
def test_stored_states_give_the_losses_of_a_pass(tmp_path, weights, fast_disk):
    rows, picked = rows_of(40), [3, 17, 5, 0]
    attention = LAYERS if "attention" in weights else []
    signals, with_states, decision = stored(tmp_path, rows, attention=attention)
    assert decision.store
    student = tiny_encoder()
    torch.manual_seed(7)
    first = Distillation(student, weights, teacher(), LAYERS)
    second = Distillation(student, weights, signals, LAYERS)
    assert first.projections is not None
    second.projections.load_state_dict(first.projections.state_dict())
    live, read = losses(first, rows, picked), losses(second, with_states, picked)
    assert live.keys() == read.keys()
    for name, value in live.items():
        assert read[name] == pytest.approx(value, rel=1e-5), name


def test_states_of_a_bfloat16_teacher_are_stored_in_bfloat16(tmp_path, fast_disk):
    rows = rows_of(6)
    signals, with_states, _ = stored(tmp_path, rows, torch.bfloat16)
    batch = collate([with_states[2]], 0)
    found = signals.signals(batch)
    own = teacher(torch.bfloat16)
    own.record_attention()
    expected = own.signals(collate([rows[2]], 0), attention=LAYERS, hidden=True)
    assert found.hidden[4].dtype == torch.bfloat16
    # Batches of other shapes round otherwise in the last bit: 2^-8 of the value.
    torch.testing.assert_close(found.hidden[4], expected.hidden[4], rtol=2**-6, atol=2**-5)
    torch.testing.assert_close(
        found.attention[2].query, expected.attention[2].query, rtol=2**-6, atol=2**-5
    )


def test_a_pass_that_was_cut_off_goes_on_and_stores_the_same(tmp_path, monkeypatch, fast_disk):
    monkeypatch.setattr(teacher_states, "BATCH_TOKENS", 24)
    monkeypatch.setattr(teacher_states, "BATCHES_BETWEEN", 3)
    rows = rows_of(40)
    _, whole, _ = stored(tmp_path / "whole", rows)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        # The first pass looks at shapes: eight batches are done, six are noted.
        counted(patch, Teacher, "signals", dies=9)
        stored(tmp_path / "cut", rows)
    assert json.loads((tmp_path / "cut/stored.json").read_text()) == 6
    again = counted(monkeypatch, Teacher, "signals")
    _, resumed, _ = stored(tmp_path / "cut", rows)
    num_batches = len(teacher_states.sorted_batches(rows, 24))
    assert len(again) == 1 + num_batches - 6
    assert torch.equal(
        resumed.token_targets["teacher_states"], whole.token_targets["teacher_states"]
    )


BERT_BASE = BertConfig()  # 12 layers, 768 wide
PER_TOKEN = 18_000  # bytes: four layers in bfloat16


def test_states_pay_on_a_cpu_for_many_epochs_and_not_for_one_or_on_a_fast_gpu():
    def says(passes, device):
        return decide(BERT_BASE, 100_000, 64.0, PER_TOKEN, passes, 20e9, device).store

    # A token costs 0.17 GFLOP, 0.3 ms at 5e11 a second; its states 18 microseconds to read.
    assert says(20, "cpu")
    assert not says(1, "cpu")
    # At 3e14 operations a second a pass takes 0.6 microseconds a token: reading is dearer.
    assert not says(20, "cuda")


def test_the_limit_on_bytes_is_kept_and_the_arithmetic_is_told(tmp_path, fast_disk):
    rows = rows_of(40)
    signals, same, decision = stored(tmp_path, rows, gigabytes=1e-6)
    assert isinstance(signals, Teacher)
    assert same is rows
    assert not decision.store
    # two layers: 2 * (32 + 32) of queries and keys, three hidden states of 32, 4 bytes each: 896
    assert f"({len(rows.ids)} tokens of 896 bytes), 50.0 passes on cpu" in decision.reason
    assert "0.00 GB allowed" in decision.reason
    assert not (tmp_path / "states.raw").exists()
