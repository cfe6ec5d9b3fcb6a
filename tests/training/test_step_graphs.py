"""Captured passes train as plain ones do; the capture needs a GPU, and has a stand-in on a CPU."""

import copy

import pytest
import torch

from tests.fixtures.models import tiny_classifier, tiny_encoder
from tests.fixtures.training import SCHEDULE, fine_tuning, rows_of, run_in, same, weights_of
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.teacher import Teacher
from tinybert.training import phase_trainer, step_graphs
from tinybert.training.step_graphs import StepGraphs
from tinybert.training.training import train

BY_TOKENS = SCHEDULE.model_copy(update={"batches": "tokens"})  # of several lengths
LAYERS = {"attention": 1.0, "hidden": 1.0, "embedding": 1.0}


class Tape:
    """Makes passes again into the tensor that they left first, as a graph does."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, warm_up, run):
        self.captures += 1
        warm_up()
        values = run()

        def replay() -> None:
            self.replays += 1
            values.copy_(run())

        return values, replay


def capture_by(monkeypatch, capture) -> None:
    monkeypatch.setattr(
        phase_trainer,
        "graphs_of",
        lambda model, device: StepGraphs(list(model.parameters()), capture),
    )


@pytest.fixture
def tape(monkeypatch) -> Tape:
    found = Tape()
    capture_by(monkeypatch, found)
    return found


def layer_matching() -> Distillation:
    teacher = Teacher(tiny_classifier(seed=1, num_hidden_layers=4, hidden_size=32))
    student = tiny_encoder(seed=3, hidden_dropout_prob=0.2)  # with a pooler, which has no gradient
    return Distillation(student, LAYERS, teacher, [2, 4])


def trained(model, folder, schedule=SCHEDULE) -> tuple[Distillation, object]:
    history, _ = train(model, rows_of(), 0, schedule, run_in(folder))
    return model, history


def require_as_plain(found, history, make, folder) -> None:
    plain, expected = trained(make(), folder / "plain")
    assert same(weights_of(found), weights_of(plain))
    assert history.equals(expected)


@pytest.mark.parametrize("make", [fine_tuning, layer_matching])
def test_captured_passes_end_with_the_weights_and_the_history_of_plain_ones(
    make, tape, tmp_path, monkeypatch
):
    captured, history = trained(make(), tmp_path / "captured")
    monkeypatch.undo()
    require_as_plain(captured, history, make, tmp_path)
    assert tape.replays == 24 + tape.captures  # each is tried once
    assert tape.captures < 12  # batches of like lengths come again


def test_beyond_so_many_shapes_passes_are_made_plainly(tape, tmp_path, monkeypatch):
    monkeypatch.setattr(step_graphs, "MAX_SHAPES", 1)
    captured, history = trained(layer_matching(), tmp_path / "captured")
    assert tape.captures == 1
    assert 1 < tape.replays < 24
    monkeypatch.undo()
    require_as_plain(captured, history, layer_matching, tmp_path)


def test_where_a_capture_fails_training_goes_on_and_says_so(tmp_path, monkeypatch, capsys):
    def refusing(warm_up, run):
        warm_up()
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    capture_by(monkeypatch, refusing)
    found, history = trained(layer_matching(), tmp_path / "refused")
    lines = [line for line in capsys.readouterr().err.splitlines() if "CUDA graph" in line]
    assert lines == [
        "test: no CUDA graph of a step, slower: operation not permitted when stream is capturing"
    ]
    monkeypatch.undo()
    require_as_plain(found, history, layer_matching, tmp_path)


def test_a_replay_that_differs_from_a_plain_pass_is_not_used(tmp_path, monkeypatch, capsys):
    def forgetful(warm_up, run):
        """Replay half of the gradients."""
        warm_up()
        values = run()

        def replay() -> None:
            run()
            for weight in model.parameters():
                if weight.grad is not None:
                    weight.grad.mul_(0.5)

        return values, replay

    model = layer_matching()
    capture_by(monkeypatch, forgetful)
    found, history = trained(model, tmp_path / "forgetful")
    assert "a replay's gradients differ from a plain pass's by" in capsys.readouterr().err
    monkeypatch.undo()
    require_as_plain(found, history, layer_matching, tmp_path)


def test_what_the_host_looks_at_is_not_captured():
    cuda = torch.device("cuda")
    whole = layer_matching()
    assert whole.can_be_captured
    of_words = copy.deepcopy(fine_tuning())
    of_words.kind = "tokens"
    hiding = fine_tuning()
    hiding.pretraining = object()
    stored = layer_matching()
    stored._teacher = (object(),)
    for model in (of_words, hiding, stored):
        assert phase_trainer.graphs_of(model, cuda) is None
    assert phase_trainer.graphs_of(whole, torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_captured_passes_repeat_resume_and_are_plain_ones(tmp_path, monkeypatch):
    seen = []
    graphs_of = phase_trainer.graphs_of

    def watched(model, device):
        seen.append(graphs_of(model, device))
        return seen[-1]

    monkeypatch.setattr(phase_trainer, "graphs_of", watched)
    found = [trained(layer_matching(), tmp_path / str(n), BY_TOKENS)[0] for n in (1, 2)]
    assert same(*map(weights_of, found))
    assert len(seen[0].captured) > 1
    assert seen[0].captured.keys() == seen[1].captured.keys()
    monkeypatch.setattr(phase_trainer, "graphs_of", lambda model, device: None)
    plain, _ = trained(layer_matching(), tmp_path / "plain", BY_TOKENS)
    for ours, theirs in zip(weights_of(found[0]), weights_of(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
