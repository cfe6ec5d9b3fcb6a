"""The benchmarks run, count what they should, and say what is wrong with a command line."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import BertConfig

from benchmarks import SUBJECTS, __main__, flops, machine, options, shapes, synchronisation, texts
from benchmarks.options import Options
from benchmarks.result import Result, write
from benchmarks.training_steps import time_steps
from tests.fixtures.models import tiny_classifier
from tests.fixtures.training import rows_of
from tinybert.distillation import distillation
from tinybert.distillation.distillation import Distillation
from tinybert.encoders.cost import encoder_flops
from tinybert.runtime.errors import InputError
from tinybert.text.encoded import EncodedRows
from tinybert.training import phase_trainer

TINY = (
    {"num_hidden_layers": 2, "hidden_size": 24, "intermediate_size": 48},
    {"num_hidden_layers": 1, "hidden_size": 12, "intermediate_size": 24},
)
STEPS = 3


@pytest.fixture
def tiny(monkeypatch, tmp_path) -> Options:
    """Make every shape, product and text small."""
    monkeypatch.setitem(shapes.SHAPES, "bert", TINY)
    monkeypatch.setattr(machine, "SIZES", ((32, 32, 32),))
    monkeypatch.setattr(texts, "task_rows", lambda options, task: (task, rows_of(80)))
    monkeypatch.setattr(texts, "block_rows", blocks)
    return Options("bert", None, None, None, STEPS, tmp_path)


def blocks(chosen: Options, length: int, num_rows: int) -> EncodedRows:
    rows = rows_of(1)
    ids = rows.ids[:1].repeat(length * num_rows)
    ends = (torch.arange(num_rows) + 1).numpy() * length
    return EncodedRows(ids, ends, ends.astype("int32"), {})


STEP_SUBJECTS = ["intermediate_step", "prediction_step", "finetuning_step", "scaling"]


def test_one_process_sends_nothing_and_waits_for_none(tiny, monkeypatch):
    for module in (distillation, phase_trainer):  # which the benchmark changes
        monkeypatch.setattr(module, "sum_over_all", module.sum_over_all)
    monkeypatch.setattr(DistributedDataParallel, "forward", DistributedDataParallel.forward)
    found = synchronisation.measure(tiny)
    assert list(found) == ["processes", "tokens/s"]
    assert found["processes"] == 1
    assert found["tokens/s"] > 0


@pytest.mark.parametrize("subject", [*STEP_SUBJECTS, "inference"])
def test_a_subject_measures_time_tokens_and_floor(tiny, subject):
    found = importlib.import_module(f"benchmarks.{subject}").measure(tiny)
    assert found
    for one in found:
        values = one.as_json()
        assert one.subject == subject
        assert one.seconds > 0
        assert one.tokens is not None
        assert one.peak_gigabytes is not None
        # A floor is under the time: these models are all overhead.
        assert 0 < values["floor_share"] < 1
        assert values["tokens_per_second"] == pytest.approx(one.tokens / one.seconds)
        assert -0.01 <= one.more.get("overhead", 0) < 1


def test_augmentation_counts_each_distinct_request_once(tiny, monkeypatch):
    frame = pd.DataFrame(
        {"sentence1": ["a river saw the tree", "a river saw the tree"], "label": 0}
    )
    monkeypatch.setattr(texts, "task_of", lambda options, task: (task, None, frame))
    one = importlib.import_module("benchmarks.augmentation").measure_task(tiny, "cola", 2)
    # river, saw and tree may be replaced; each is asked in 7 pieces, [CLS] and [SEP] included.
    assert (one.more["requests"], one.tokens, one.examples) == (3, 21, 2)
    assert one.flops == 3 * encoder_flops(2, 24, 48, 7) + 3 * 2 * 24 * (24 + 30522)
    assert one.more["rows out"] > 2


def test_corpora_of_growing_sizes_are_measured_until_there_is_no_more(tiny, monkeypatch):
    lines = [["the old river ran under the big tree"] * 20] * 50  # 50 documents of 741 bytes
    subject = importlib.import_module("benchmarks.prepare_corpus")
    monkeypatch.setattr(texts, "documents", lambda options: iter(lines))
    monkeypatch.setattr(subject, "MEGABYTES", (0.01, 0.02, 10, 20))
    found = subject.measure(tiny)
    # 14 documents pass 10 kB, 27 pass 20 kB, all 50 are not 10 MB: the fourth size is left out.
    assert [one.examples for one in found] == [14, 27, 50]
    assert found[0].more["MB"] == pytest.approx(14 * 741 / 1e6)
    assert found[0].tokens == 14 * 20 * 8


def test_the_floor_of_a_general_step_is_that_of_its_real_tokens(tiny):
    one, two = importlib.import_module("benchmarks.general_step").measure(tiny)
    assert 0 < one.as_json()["floor_share"] < 1
    assert one.examples == STEPS * 32
    assert one.tokens == STEPS * 32 * 128
    # Per row: teacher's forward; student's and (1 + 1) projections 12 x 24, three times.
    teacher = encoder_flops(2, 24, 48, 128)
    student = 3 * (encoder_flops(1, 12, 24, 128) + 2 * 2 * 12 * 24 * 128)
    assert one.flops == STEPS * 32 * (teacher + student)
    assert two.flops == STEPS * 32 * (teacher + 2 * student)


def test_memory_of_the_attention_loss_does_not_grow_with_the_square_of_the_length(tiny):
    found = importlib.import_module("benchmarks.attention_memory").measure(tiny)
    peak = {one.case.removeprefix("bert "): one.peak_gigabytes for one in found}
    # Queries and keys are 1 and 2 wide a head: Grams are tiny, so only what is linear is left.
    assert peak["8x512 without maps"] < 1.2 * peak["64x64 without maps"]
    assert peak["8x512 with maps"] > 4 * peak["64x64 with maps"]
    assert peak["8x512 without maps"] < 0.1 * peak["8x512 with maps"]


@pytest.mark.slow
def test_compiled_steps_are_compared_with_plain_ones(tiny):
    plain, compiled = importlib.import_module("benchmarks.compiling").measure(tiny)
    assert compiled.more["warm-up s"] > plain.more["warm-up s"]
    assert compiled.more["times faster"] > 0


def test_the_measured_steps_are_those_after_the_warm_up(tiny):
    model = Distillation(tiny_classifier(), {"label": 1.0})
    steps = time_steps(model, rows_of(40), replace(tiny, steps=5), batch_size=8)
    assert len(steps.seconds) == len(steps.computing) == len(steps.lengths) == 5
    assert all(
        0 < inside <= whole for inside, whole in zip(steps.computing, steps.seconds, strict=True)
    )


def test_operations_are_counted_as_the_paper_does():
    # BERT-base at 128 tokens: 22.35 G (method's figure); a row of each length counts by itself.
    config = BertConfig()
    assert flops.forward(config, [128]) == pytest.approx(22.35e9, rel=1e-3)
    assert flops.forward(config, [128, 64, 64]) == sum(
        flops.forward(config, [length]) for length in (128, 64, 64)
    )
    # 10 places, 768 x 768 and 768 x 30,522 multiply-adds each.
    assert flops.masked_head(config, 10) == 2 * 10 * 768 * (768 + 30522)


def rate_of(monkeypatch, *seconds: float) -> machine.MatrixRate:
    """Return a rate whose products took so long, each of 2 * 8 * 8 * 8 = 1,024 operations."""
    monkeypatch.setattr(machine, "SIZES", ((8, 8, 8),))
    monkeypatch.setattr(machine, "REPEATS", len(seconds))
    ticks = iter([tick for second in seconds for tick in (0.0, second)])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(ticks))
    return machine.MatrixRate(torch.float32, torch.device("cpu"))


def test_the_floor_takes_the_best_rate_and_tells_the_usual_one(monkeypatch):
    rate = rate_of(monkeypatch, 2.0, 1.0, 4.0)
    assert rate.best == 1024
    assert rate.usual == 512


def test_results_are_written_with_the_machine_they_hold_for(tmp_path, monkeypatch):
    rate = rate_of(monkeypatch, 2.0, 1.0, 4.0)
    monkeypatch.undo()
    result = Result("general_step", "case", 2.0, 512.0, rate, 100, 4, 0.5)
    write([result], machine.describe(torch.device("cpu")), tmp_path / "a/b.json")
    found = json.loads((tmp_path / "a/b.json").read_text())
    assert found["machine"]["num_threads"] == torch.get_num_threads()
    (one,) = found["results"]
    # 512 operations take 0.5 s of the 2 s at the best rate, 1 s at the usual one.
    assert (one["floor_seconds"], one["floor_share"], one["usual_share"]) == (0.5, 0.25, 0.5)
    assert (one["tokens_per_second"], one["examples_per_second"]) == (50.0, 2.0)


def parsed(*arguments: str) -> Options:
    return options.read(options.parser().parse_args(list(arguments)))


def test_wrong_options_are_refused(monkeypatch):
    with pytest.raises(InputError, match="--glue: no such folder, got nowhere"):
        parsed("--glue", "nowhere")
    with pytest.raises(InputError, match="at least 2 are needed, got 1"):
        parsed("--steps", "1")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "sleeping"])
    with pytest.raises(InputError, match="got 'sleeping'; known: prepare_corpus"):
        __main__.main()


def test_subjects_are_the_files_that_measure():
    files = Path(options.__file__).parent.glob("*.py")
    measuring = {file.stem for file in files if "def measure(options" in file.read_text()}
    assert measuring == set(SUBJECTS)


def test_text_that_is_too_short_is_taken_again_and_none_is_refused(monkeypatch, tmp_path):
    given = Options("bert", None, None, None, STEPS, tmp_path)
    monkeypatch.setattr(texts, "documents", lambda options: iter([["the old river ran"]]))
    rows = texts.block_rows(given, 16, 8)  # 4 tokens of text for 8 blocks of 14
    assert len(rows) == 8
    assert len(set(rows.ids[1:15].tolist())) == 4
    monkeypatch.setattr(texts, "documents", lambda options: iter([]))
    with pytest.raises(InputError, match="--corpus: no text"):
        texts.block_rows(given, 16, 8)


def test_the_tasks_whose_files_are_there_are_measured(tmp_path):
    given = Options("bert", tmp_path, None, None, STEPS, tmp_path)
    with pytest.raises(InputError, match=r"none of mrpc, cola is in .*an empty folder"):
        texts.known_tasks(given, ("mrpc", "cola"))
    (tmp_path / "MRPC").mkdir()
    assert texts.known_tasks(given, ("mrpc", "cola")) == ["mrpc"]
    assert texts.known_tasks(replace(given, glue=None), ("mrpc", "cola")) == ["mrpc", "cola"]
