"""Captured passes give what passes give; the capture itself needs a GPU and has a stand-in here."""

import torch

from tests.fixtures.models import tiny_batch, tiny_encoder
from tinybert.distillation import teacher_graphs
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_graphs import Captured, PassGraphs

READ = {"attention": [1, 2], "hidden": True}


class Tape:
    """Makes a pass again into the tensors that it left first, as a graph does."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, run, inputs) -> Captured:
        self.captures += 1
        signals = run(inputs)

        def replay() -> None:
            self.replays += 1
            again = run(inputs)
            for layer, state in again.hidden.items():
                signals.hidden[layer].copy_(state)
            for layer, (query, key, _) in again.attention.items():
                signals.attention[layer].query.copy_(query)
                signals.attention[layer].key.copy_(key)

        return Captured(inputs, signals, replay)


def teachers(tape) -> tuple[Teacher, Teacher]:
    found = Teacher(tiny_encoder(), graphs=PassGraphs(tape)), Teacher(tiny_encoder())
    for teacher in found:
        teacher.record_attention()
    return found


def batches() -> list[dict[str, torch.Tensor]]:
    first = tiny_batch()
    second = {**first, "input_ids": first["input_ids"].flip(0)}
    short = {name: value[:, :3] for name, value in first.items()}
    return [first, second, short, second, short]


def test_a_shape_is_captured_once_and_each_batch_gives_its_own_signals():
    tape = Tape()
    captured, plain = teachers(tape)
    for batch in batches():
        found, expected = captured.signals(batch, **READ), plain.signals(batch, **READ)
        torch.testing.assert_close(found.hidden, expected.hidden)
        for layer in (1, 2):
            torch.testing.assert_close(found.attention[layer], expected.attention[layer])
    assert (tape.captures, tape.replays) == (2, 5)


def test_beyond_so_many_shapes_passes_are_made_plainly(monkeypatch):
    monkeypatch.setattr(teacher_graphs, "MAX_SHAPES", 1)
    tape = Tape()
    captured, plain = teachers(tape)
    for batch in batches():
        found, expected = captured.signals(batch, **READ), plain.signals(batch, **READ)
        torch.testing.assert_close(found.hidden, expected.hidden)
    assert (tape.captures, tape.replays) == (1, 3)
