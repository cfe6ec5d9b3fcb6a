"""Several students of one teacher pass end with the weights they would have alone, bit for bit."""

import pytest
import torch

from tests.fixtures.models import tiny_classifier, tiny_encoder
from tests.fixtures.training import SCHEDULE as LONGER
from tests.fixtures.training import KilledError, counted, rows_of, run_in
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.teacher import Teacher
from tinybert.runtime.errors import InputError
from tinybert.training.training import train, train_together

SCHEDULE = LONGER.model_copy(update={"num_epochs": 2.0})  # 16 steps
ALL = {"attention": 1.0, "hidden": 1.0, "embedding": 1.0}
# Another shape, other layers, other weights.
STUDENTS = {
    "wide": ({"hidden_size": 32, "num_hidden_layers": 2}, ALL, [2, 4]),
    "small": ({"hidden_size": 16, "num_hidden_layers": 1}, ALL, [4]),
    "no_attention": ({"hidden_size": 16, "num_hidden_layers": 2}, {"hidden": 5.0}, [1, 3]),
}


def teacher() -> Teacher:
    return Teacher(tiny_classifier(seed=1, num_hidden_layers=4, hidden_size=32))


def student(name, own_teacher) -> Distillation:
    changes, weights, layers = STUDENTS[name]
    model = tiny_encoder(seed=3, hidden_dropout_prob=0.2, **changes)
    return Distillation(model, weights, own_teacher, layers)


def weights_of(model) -> list[torch.Tensor]:
    return [weight.detach().cpu().clone() for weight in model.parameters()]


def alone(name, folder):
    model = student(name, teacher())
    history, _ = train(model, rows_of(), 0, SCHEDULE, run_in(folder))
    return weights_of(model), history


def together(folder, names=tuple(STUDENTS)):
    shared = teacher()
    models = {name: student(name, shared) for name in names}
    runs = {name: run_in(folder, checkpoints=folder / name) for name in names}
    train_together(models, rows_of(), 0, SCHEDULE, runs)
    return models, runs


def test_each_ends_as_if_it_were_trained_alone(tmp_path):
    models, runs = together(tmp_path / "together")
    for name in STUDENTS:
        expected, expected_history = alone(name, tmp_path / name)
        fresh = student(name, teacher())
        history, _ = train(fresh, rows_of(), 0, SCHEDULE, runs[name])  # only reads
        for found in (models[name], fresh):
            assert all(map(torch.equal, weights_of(found), expected)), name
        assert history.equals(expected_history), name


def test_the_teacher_runs_once_a_step(tmp_path, monkeypatch):
    calls = counted(monkeypatch, Teacher, "signals")
    together(tmp_path)
    assert len(calls) == SCHEDULE.num_steps(8)
    assert calls[0][1] == {"attention": {2, 4}, "hidden": True, "relations": set()}


def test_training_together_leaves_only_what_each_stage_looks_for(tmp_path):
    together(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(STUDENTS)
    assert {path.name for path in tmp_path.glob("*/*")} == {"finished"}


def test_a_cut_off_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    expected = {name: weights_of(model) for name, model in together(tmp_path / "whole")[0].items()}
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        counted(patch, Teacher, "signals", dies=13)
        together(tmp_path / "cut")
    calls = counted(monkeypatch, Teacher, "signals")
    models, _ = together(tmp_path / "cut")
    assert len(calls) == SCHEDULE.num_steps(8) - 10  # the checkpoint at 10 was gone on from
    for name, model in models.items():
        assert all(map(torch.equal, weights_of(model), expected[name])), name


def test_one_that_diverges_stops_all_and_leaves_nothing(tmp_path, monkeypatch):
    real = Distillation.terms

    def exploding(self, batch, signals):
        found = real(self, batch, signals)
        return found | {"loss": found["loss"] * float("nan")} if len(self.layers) == 1 else found

    monkeypatch.setattr(Distillation, "terms", exploding)
    with pytest.raises(InputError, match="NaN"):
        together(tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
