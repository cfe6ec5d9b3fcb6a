"""The clock: what is timed against what, and what is said about it."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertForSequenceClassification

from tests.fixtures.models import tiny_classifier
from tests.fixtures.tokenizers import tokenizer_of
from tinybert.deployment.engines import Engine, onnx_engine, torch_engine
from tinybert.deployment.latency import (
    TEACHER,
    Draw,
    beside,
    choose_device,
    describe_protocol,
    measure_engines,
    measure_grid,
    num_cells,
    require_lengths,
)
from tinybert.deployment.onnx_file import export_onnx
from tinybert.deployment.sections import BenchmarkLatencySettings
from tinybert.runtime.errors import InputError
from tinybert.tasks.aligned_rows import encode_beside
from tinybert.tasks.task import Encoding
from tinybert.text.encoded import EncodedRows

CPU = torch.device("cpu")


class Sleeper:
    """An engine whose latency is known."""

    clock = 0.0  # seconds, of all of them

    def __init__(self, *milliseconds: float) -> None:
        self.milliseconds = milliseconds
        self.inputs: list[object] = []

    @property
    def engine(self) -> Engine:
        return Engine(lambda batch: batch, self.run)

    def run(self, inputs: object) -> None:
        Sleeper.clock += self.milliseconds[len(self.inputs) % len(self.milliseconds)] / 1000
        self.inputs.append(inputs)


def times(num_repeats: int, num_warmup: int = 0, **sleepers: Sleeper) -> dict[str, list[float]]:
    engines = {name: sleeper.engine for name, sleeper in sleepers.items()}
    batches = [{"input_ids": torch.zeros(1, length)} for length in (1, 2)]
    return measure_engines(engines, batches, num_repeats, num_warmup)


def tiny_bert() -> BertForSequenceClassification:
    return tiny_classifier(max_position_embeddings=32)


def grid(**changes: object) -> BenchmarkLatencySettings:
    values: dict[str, object] = {
        "engines": ["pytorch_fp32"],
        "batch_sizes": [2, 1],
        "sequence_lengths": [16],
        "num_threads": None,
        "precision": "fp32",
        "device": "cpu",
        "num_repeats": 3,
        "num_warmup": 1,
    }
    return BenchmarkLatencySettings.model_validate(values | changes)


def cells_of(wanted: BenchmarkLatencySettings, rows=None, advance=lambda: None) -> list[dict]:
    engine = torch_engine(tiny_bert(), "pytorch_fp32", CPU)
    makers = {"one": lambda _: engine, "other": lambda _: engine, TEACHER: lambda _: engine}
    return measure_grid(makers, Draw(40, 0, rows), wanted, advance)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass in the models alone, whatever else the machine does."""
    monkeypatch.setattr("time.perf_counter", lambda: Sleeper.clock)


def test_an_engine_is_summed_up_beside_the_teacher_round_by_round():
    # Both slow down together, as on a busy machine: each round's ratio is 3, whatever the round.
    found = beside([4.0, 4.0, 12.0], [12.0, 12.0, 36.0], rows=8)
    assert found["speedup"] == found["speedup_low"] == found["speedup_high"] == 3
    assert (found["student_ms"], found["teacher_ms"]) == (4, 12)
    assert found["student_p95_ms"] == pytest.approx(4 + 0.9 * 8)  # between the 2nd and 3rd of 3
    assert found["rows_per_second"] == 8 / 0.004


@pytest.mark.usefixtures("clock")
def test_warmup_rounds_are_not_counted():
    found = times(1, 1, student=Sleeper(200, 200, 4, 4), teacher=Sleeper(4))
    assert found == {"student": [pytest.approx(4)], "teacher": [pytest.approx(4)]}


@pytest.mark.usefixtures("clock")
def test_each_timed_pass_follows_one_of_the_same_model():
    # The first pass is slow: it comes after another model's.
    found = times(3, student=Sleeper(50, 5), int8=Sleeper(30, 3), teacher=Sleeper(100, 20))
    assert found["student"] == pytest.approx([5] * 3)
    assert found["int8"] == pytest.approx([3] * 3)
    assert found["teacher"] == pytest.approx([20] * 3)


@pytest.mark.usefixtures("clock")
def test_once_a_pass_is_known_to_be_long_it_is_timed_alone():
    student, teacher = Sleeper(99), Sleeper(101)
    sometimes = Sleeper(101, 101, 101, 99)  # a short batch among long ones
    found = times(4, student=student, teacher=teacher, sometimes=sometimes)
    assert (len(student.inputs), len(teacher.inputs)) == (8, 5)
    assert found["teacher"] == pytest.approx([101] * 4)
    # Twice, once, once: then its shortest is 99, and it runs twice again.
    assert len(sometimes.inputs) == 2 + 1 + 1 + 2


@pytest.mark.usefixtures("clock")
def test_all_engines_get_the_same_batch_in_a_round_and_the_next_one_another():
    one, other = Sleeper(1), Sleeper(2)
    times(3, one=one, other=other)
    lengths = [[each["input_ids"].shape[1] for each in sleeper.inputs] for sleeper in (one, other)]
    assert lengths == [[1, 1, 2, 2, 1, 1]] * 2


def test_every_cell_of_the_grid_is_measured_and_the_first_named_comes_first():
    wanted = grid(sequence_lengths=[16, 8], num_threads=[1, 2])
    cells = cells_of(wanted)
    names = ("num_threads", "sequence_length", "batch_size", "engine")
    keys = [tuple(cell[name] for name in names) for cell in cells]
    assert keys[0] == (1, 16, 2, "one")
    engines = ("one", "other")
    grid_of = {(n, s, b, e) for n in (1, 2) for s in (16, 8) for b in (2, 1) for e in engines}
    assert set(keys) == grid_of and len(keys) == len(grid_of)
    assert num_cells(wanted) == 8


def test_a_tasks_rows_come_as_long_as_they_are():
    firsts = np.array([3, 5], dtype=np.int32)
    rows = EncodedRows(np.arange(8, dtype=np.int32), np.array([3, 8]), firsts, {})
    drawn = Draw(40, 0, rows)(4, "task", 20)
    assert len(drawn) == 20 and {len(batch["input_ids"]) for batch in drawn} == {4}
    assert {batch["input_ids"].shape[1] for batch in drawn} == {3, 5}
    cells = cells_of(grid(sequence_lengths=[16, "task"], batch_sizes=[1]), rows)
    assert [cell["tokens"] for cell in cells[:2]] == [16, 16]
    assert all(3 <= cell["tokens"] <= 5 for cell in cells[2:])


def test_a_teacher_with_another_tokenizer_is_timed_on_its_own_tokens():
    frame = pd.DataFrame({"sentence1": ["the unbelievable cat"] * 4})
    tokenizers = tokenizer_of("wordpiece"), tokenizer_of("byte_level")
    rows = encode_beside(frame, *tokenizers, Encoding("classification", 2, 32))
    seen = {"one": [], TEACHER: []}
    engines = {name: Engine(of.append, lambda _: None) for name, of in seen.items()}
    measure_engines(engines, Draw(40, 0, rows)(1, "task", 3), 1, 0)
    for (name, batches), tokenizer in zip(seen.items(), tokenizers, strict=True):
        ids = tokenizer(frame["sentence1"][0])["input_ids"]
        assert [batch["input_ids"].tolist() for batch in batches] == [[ids]] * 3, name


def test_the_number_of_threads_is_put_back_even_after_a_failure():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        cells_of(grid(num_threads=[3]), advance=lambda: 1 / 0)
    assert torch.get_num_threads() == before


def test_pytorch_runs_a_copy_in_the_numbers_asked_for(monkeypatch):
    model, seen = tiny_bert().train(), []
    monkeypatch.setattr(
        type(model), "forward", lambda self, **_: seen.append((self.dtype, self.training))
    )
    (batch,) = Draw(40, 0)(1, 8, 1)
    for name in ("pytorch_bf16", "pytorch_fp32"):
        engine = torch_engine(model, name, CPU)
        engine.run(engine.prepare(batch))
    assert seen == [(torch.bfloat16, False), (torch.float32, False)]
    assert model.training and model.dtype == torch.float32


def test_onnx_runs_the_rows_that_pytorch_does(tmp_path):
    export_onnx(tiny_bert(), tmp_path / "model.onnx")
    engine = onnx_engine(tmp_path / "model.onnx", 1)
    (batch,) = Draw(40, 0)(3, 8, 1)
    inputs = engine.prepare(batch)
    assert {name: value.shape for name, value in inputs.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), (3, 8)
    )
    (logits,) = engine.run(inputs)
    assert logits.shape == (3, 2)


def test_rows_longer_than_a_model_can_read_are_refused_with_the_limit():
    models, wanted = (tiny_bert(), tiny_bert()), grid(sequence_lengths=[64, 8, "task"])
    with pytest.raises(InputError, match=r"got \[64\]; at most 32 tokens"):
        require_lengths(*models, wanted)


@pytest.mark.parametrize(
    "changes", [{"engines": ["onnx_int8"]}, {"sequence_lengths": ["task", 16]}]
)
def test_what_gives_no_speed_up_for_every_system_cannot_come_first(changes):
    with pytest.raises(ValueError, match="must begin with one of PyTorch's"):
        grid(**changes)


def test_the_protocol_names_everything_a_speedup_depends_on():
    protocol = describe_protocol(grid(), CPU)
    assert protocol["device"] == "cpu" and protocol["precision"] == "fp32"
    assert protocol["torch"] == torch.__version__
    assert protocol["processor"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="torch sees no GPU"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"
