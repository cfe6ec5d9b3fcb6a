"""A few measured steps predict time, and leave no trace in what training then does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.fixtures.models import tiny_classifier, tiny_encoder
from tests.fixtures.training import SCHEDULE, rows_of, run_in, same, weights_of
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.together import Together
from tinybert.doctor import pace
from tinybert.doctor.checkup import training
from tinybert.doctor.findings import MODE
from tinybert.doctor.pace import (
    Measured,
    judge_passes,
    measure_steps,
    predicted_seconds,
    shown_time,
)
from tinybert.text.encoded import EncodedRows
from tinybert.training.training import train

BY_TOKENS = SCHEDULE.model_copy(update={"batches": "tokens", "num_epochs": 1.0})


def distilling(seed=0) -> Distillation:
    """A student with dropout, projections and a teacher."""
    torch.manual_seed(seed)
    teacher = Teacher(tiny_encoder(seed=1, hidden_size=32, num_hidden_layers=4))
    weights = {"attention": 1.0, "hidden": 1.0, "embedding": 1.0}
    return Distillation(tiny_encoder(seed=seed), weights, teacher, [2, 4])


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_training_after_a_measurement_ends_with_the_same_weights_bit_for_bit(tmp_path, dtype):
    ends, drawn = [], []
    for measures in (False, True):
        model, run = distilling(), run_in(tmp_path / str(measures), dtype=dtype)
        torch.manual_seed(7)
        if measures:
            training(model, rows_of(), 0, [BY_TOKENS], run)
        drawn.append(torch.rand(3))
        assert all(parameter.grad is None for parameter in model.parameters())
        train(model, rows_of(), 0, BY_TOKENS, run)
        ends.append([*weights_of(model), *model.projections.parameters()])
    assert same(*ends)
    assert torch.equal(*drawn)


def test_modes_are_as_before_in_every_module(tmp_path):
    model = distilling()
    model.student.train()
    model.student.encoder.layer[0].eval()
    before = [module.training for module in model.modules()]
    measure_steps(model, rows_of(), 0, SCHEDULE, run_in(tmp_path))
    assert [module.training for module in model.modules()] == before


def test_first_terms_are_those_of_the_model_as_it_is(tmp_path):
    # Two outputs of a new head: the cross-entropy is about ln 2.
    model = Distillation(tiny_classifier(), {"label": 1.0})
    found = measure_steps(model, rows_of(), 0, SCHEDULE, run_in(tmp_path))
    assert found.first_terms["loss/label"] == pytest.approx(np.log(2), abs=0.1)
    assert found.seconds_per_step > 0
    assert found.batch_size == 8


def test_the_widest_batch_is_taken_first():
    rows = rows_of()
    batches = pace.epoch_batches(rows, 8, "rows", 0)
    widest, ordinary = pace._chosen(batches, rows)
    sizes = [rows.lengths[numbers].max() * len(numbers) for numbers in batches]
    assert rows.lengths[widest].max() * len(widest) == max(sizes)
    assert ordinary == list(batches)[:2]


def test_time_is_steps_by_seconds_and_the_scoring_of_dev():
    # 40 rows of 10 tokens, batches of 8: 5 batches, 3 epochs: 15 steps of 2 s. Batches of 16: 3
    # batches, 9 steps of twice as many rows, so 4 s. 3 epochs of 100 dev tokens at a third of
    # 2 s / 80 tokens each: 2.5 s in either.
    rows = EncodedRows(np.zeros(400, np.int32), np.arange(10, 401, 10), np.full(40, 10), {})
    measured = Measured(2.0, None, {}, 8)
    larger = SCHEDULE.model_copy(update={"batch_size": 16})
    assert predicted_seconds(measured, rows, [SCHEDULE], 0) == pytest.approx(30)
    assert predicted_seconds(measured, rows, [SCHEDULE, larger], 0) == pytest.approx(30 + 36)
    with_dev = predicted_seconds(measured, rows, [SCHEDULE, larger], 0, dev_tokens=100)
    assert with_dev == pytest.approx(66 + 5)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        *((0.2, "1 s"), (99, "99 s"), (240, "4 min"), (7100, "118 min")),
        *((9000, "2.5 h"), (2e5, "2.3 days")),
    ],
)
def test_times_are_told_as_people_do(seconds, expected):
    assert shown_time(seconds) == expected


def test_a_teacher_that_does_not_reach_every_row_is_a_doubt():
    limited = SCHEDULE.model_copy(update={"num_epochs": 20.0, "max_steps": 130, "batch_size": 16})
    assert judge_passes([limited], 2_080) == []
    (found,) = judge_passes([limited], 2_081)
    assert found.level == "doubt"
    assert found.line.startswith("finetune_teacher reads 2,080 of 2,081 training rows; ")
    other = limited.model_copy(update={"batch_size": 32})
    assert judge_passes([limited, other], 4_160) == []  # one of the grid does
    assert judge_passes([limited.model_copy(update={"max_steps": None})], 10**6) == []


def test_what_is_trained_already_or_gone_on_with_is_not_measured(tmp_path, capsys):
    run = run_in(tmp_path)
    train(model := distilling(), rows_of(), 0, BY_TOKENS, run)
    capsys.readouterr()
    training(model, rows_of(), 0, [BY_TOKENS], run)
    assert "not measured: trained already" in capsys.readouterr().out
    assert pace.why_not_measured(replace(run, checkpoints=tmp_path / "new")) is None
    assert "compiled" in pace.why_not_measured(run_in(tmp_path / "new", compile=True))


def test_the_lines_tell_time_memory_disk_and_first_losses(tmp_path, capsys):
    other = distilling(seed=2)
    own = distilling()
    other._teacher = own._teacher
    run = run_in(tmp_path, phase="general_distill tiny")
    training(Together({"a": own, "b": other}), rows_of(), 0, [SCHEDULE], run)
    lines = [line for line in capsys.readouterr().out.splitlines() if "doubt" not in line]
    assert lines[0].startswith("general_distill tiny: 24 steps of ")
    assert "GB memory" in lines[0]
    assert "GB disk" in lines[0]
    assert lines[1].startswith("general_distill tiny: first losses: attention ")
    assert "|" not in lines[1]  # the first student's alone


def test_switched_off_nothing_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(MODE, "off")
    training(distilling(), rows_of(), 0, [SCHEDULE], run_in(tmp_path))
    assert capsys.readouterr().out == ""
