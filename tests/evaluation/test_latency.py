"""The clock: what is timed against what, and what is said about it."""

import pytest
import torch
from torch import nn
from transformers import BertForSequenceClassification

from tests.fixtures.models import tiny_classifier
from tinybert.core.errors import InputError
from tinybert.evaluation.latency import (
    choose_device,
    describe_protocol,
    measure_grid,
    measure_pair,
    num_cells,
)
from tinybert.evaluation.sections import BenchmarkLatencySettings


class Sleeper(nn.Module):
    """A model whose latency is known."""

    clock = 0.0  # seconds, of all of them

    def __init__(self, *milliseconds: float) -> None:
        super().__init__()
        self.milliseconds = milliseconds
        self.num_calls = 0

    def forward(self, **inputs: torch.Tensor) -> None:
        Sleeper.clock += self.milliseconds[self.num_calls % len(self.milliseconds)] / 1000
        self.num_calls += 1


def tiny_bert() -> BertForSequenceClassification:
    return tiny_classifier(max_position_embeddings=32)


def grid(**changes: object) -> BenchmarkLatencySettings:
    values: dict[str, object] = {
        "batch_sizes": [2, 1],
        "sequence_lengths": [16],
        "num_threads": None,
        "precision": "fp32",
        "device": "cpu",
        "num_repeats": 3,
        "num_warmup": 1,
    }
    return BenchmarkLatencySettings.model_validate(values | changes)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass in the models alone, whatever else the machine does."""
    monkeypatch.setattr("time.perf_counter", lambda: Sleeper.clock)


@pytest.mark.usefixtures("clock")
def test_speedup_is_the_teachers_time_over_the_students():
    found = measure_pair(Sleeper(5), Sleeper(20), {}, num_repeats=5, num_warmup=0)
    assert found["speedup"] == pytest.approx(20 / 5)
    assert found["student_ms"] == pytest.approx(5)
    assert found["teacher_ms"] == pytest.approx(20)


@pytest.mark.usefixtures("clock")
def test_speedup_is_the_median_of_paired_ratios_within_its_quartiles():
    # Both slow down together, as on a busy machine: each pair's ratio is 3, whatever the pair.
    student, teacher = Sleeper(4, 4, 12, 12), Sleeper(12, 12, 36, 36)
    found = measure_pair(student, teacher, {}, num_repeats=6, num_warmup=0)
    assert found["speedup"] == pytest.approx(3)
    assert found["speedup_high"] - found["speedup_low"] < 1e-9


@pytest.mark.usefixtures("clock")
def test_warmup_runs_are_not_counted():
    # Were the warm-up counted, the lower quartile of the ratios 4/200 and 4/4 would be 0.27.
    student, teacher = Sleeper(4, 200, 4, 4), Sleeper(4)
    found = measure_pair(student, teacher, {}, num_repeats=1, num_warmup=1)
    assert student.num_calls == teacher.num_calls == 4
    assert found["speedup_low"] > 0.5


@pytest.mark.usefixtures("clock")
def test_each_timed_pass_follows_one_of_the_same_model():
    student, teacher = Sleeper(50, 5), Sleeper(100, 20)  # the first is slow: after the other model
    found = measure_pair(student, teacher, {}, num_repeats=3, num_warmup=0)
    assert found["student_ms"] == pytest.approx(5)
    assert found["teacher_ms"] == pytest.approx(20)


def test_every_cell_of_the_grid_is_measured_and_the_first_named_comes_first():
    wanted = grid(sequence_lengths=[16, 8], num_threads=[1, 2])
    cells = measure_grid(tiny_bert(), tiny_bert(), wanted, torch.device("cpu"), seed=0)
    keys = [(cell["num_threads"], cell["sequence_length"], cell["batch_size"]) for cell in cells]
    assert keys[0] == (1, 16, 2)
    assert set(keys) == {(n, length, b) for n in (1, 2) for length in (16, 8) for b in (2, 1)}
    assert len(cells) == num_cells(wanted) == 8


def test_the_number_of_threads_is_put_back_even_after_a_failure():
    before = torch.get_num_threads()
    models, wanted = (tiny_bert(), tiny_bert()), grid(num_threads=[3])
    with pytest.raises(ZeroDivisionError):
        measure_grid(*models, wanted, torch.device("cpu"), 0, lambda: 1 / 0)
    assert torch.get_num_threads() == before


def test_models_run_in_evaluation_mode_and_in_the_precision_asked_for():
    student, teacher = tiny_bert().train(), tiny_bert().train()
    measure_grid(student, teacher, grid(precision="bf16"), torch.device("cpu"), seed=0)
    assert not student.training and not teacher.training
    assert student.dtype == teacher.dtype == torch.bfloat16


def test_rows_longer_than_a_model_can_read_are_refused_with_the_limit():
    models, wanted = (tiny_bert(), tiny_bert()), grid(sequence_lengths=[64, 8])
    with pytest.raises(InputError, match=r"got \[64\]; at most 32 tokens"):
        measure_grid(*models, wanted, torch.device("cpu"), seed=0)


def test_the_protocol_names_everything_a_speedup_depends_on():
    protocol = describe_protocol(grid(), torch.device("cpu"))
    assert protocol["device"] == "cpu" and protocol["precision"] == "fp32"
    assert protocol["torch"] == torch.__version__
    assert protocol["processor"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="torch sees no GPU"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"
