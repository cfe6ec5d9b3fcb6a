"""Several processes: their parts make up the whole, and only the first one writes."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from tests.fixtures.models import tiny_classifier, tiny_config, tiny_encoder
from tests.fixtures.training import SCHEDULE
from tinybert.distillation.distillation import Distillation, term_counts
from tinybert.distillation.teacher import Teacher
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file, replace_folder
from tinybert.runtime.processes import shares
from tinybert.text.batching import PartBatches, Parts, collate, epoch_batches
from tinybert.text.encoded import EncodedRows
from tinybert.training.run import Run, require_shareable


def rows_of(lengths, **targets) -> EncodedRows:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 40, sum(lengths)).astype(np.int32)
    return EncodedRows(ids, np.cumsum(lengths), np.asarray(lengths, np.int32), targets)


def model_of(*terms, **options) -> Distillation:
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if terms[0] in ("prediction", "label"):
        student = tiny_classifier(num_labels=1 if options else 2, **quiet)
        return Distillation(student, dict.fromkeys(terms, 1.0), **options)
    teacher = Teacher(tiny_encoder(seed=1, hidden_size=32, num_hidden_layers=4))
    weights = {term: 1.0 + number for number, term in enumerate(terms)}
    return Distillation(tiny_encoder(**quiet), weights, teacher, [2, 4])


CASES = [
    model_of("attention"),
    model_of("hidden"),
    model_of("embedding"),
    model_of("attention", "hidden", "embedding"),
    model_of("prediction"),
    model_of("label"),
    model_of("label", kind="regression"),
    model_of("prediction", "label"),
]


def values_and_gradient(model: Distillation, batch, factors=None):
    model.zero_grad()
    terms = list(model.weights)
    values = model(**batch)
    found = torch.stack([values[f"loss/{term}"] for term in terms])
    if factors is None:
        values["loss"].backward()
    else:
        # What the forward pass does in one of several processes: each term with its factor.
        signals = [
            Distillation.forward(part, **batch)["loss"] * factor
            for part, factor in zip(_single_terms(model), factors, strict=True)
        ]
        torch.stack(signals).sum().backward()
        found = found * factors
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return found, torch.cat(gradients)


def _single_terms(model: Distillation) -> list[Distillation]:
    """Return the model once per term, with the same parameters."""
    singles = []
    for term, weight in model.weights.items():
        single = Distillation.__new__(Distillation)
        single.__dict__ = {**model.__dict__, "weights": {term: weight}}
        singles.append(single)
    return singles


@pytest.mark.parametrize("sizes", [(1, 4), (4, 1), (3, 2)])
@pytest.mark.parametrize("model", CASES, ids=lambda model: "+".join(model.weights))
def test_unequal_parts_with_their_factors_make_up_the_whole(model, sizes):
    lengths = [12, 3, 5, 9, 4]
    dtype = np.float32 if model.kind == "regression" else np.int64
    targets = {"labels": np.asarray([0, 1, 1, 0, 1], dtype)}
    width = model.student.config.num_labels
    targets["teacher_logits"] = np.random.default_rng(1).normal(size=(5, width)).astype(np.float32)
    rows = rows_of(lengths, **targets)
    whole = collate([rows[i] for i in range(5)], 0)
    expected, expected_gradient = values_and_gradient(model, whole)
    first = collate([rows[i] for i in range(sizes[0])], 0)
    second = collate([rows[i] for i in range(sizes[0], 5)], 0)
    terms = list(model.weights)
    counts = [term_counts(part, terms) for part in (first, second)]
    assert torch.equal(sum(counts), term_counts(whole, terms))
    found = [
        values_and_gradient(model, part, shares(count, sum(counts), 2))
        for part, count in zip((first, second), counts, strict=True)
    ]
    torch.testing.assert_close((found[0][0] + found[1][0]) / 2, expected)
    torch.testing.assert_close((found[0][1] + found[1][1]) / 2, expected_gradient)


@pytest.mark.parametrize("kind", ["tokens", "span", "multilabel"])
@pytest.mark.parametrize("sizes", [(1, 4), (3, 2)])
def test_parts_of_every_kind_of_task_make_up_the_whole(kind, sizes):
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    heads = {"tokens": BertForTokenClassification, "span": BertForQuestionAnswering}
    torch.manual_seed(0)
    student = heads.get(kind, BertForSequenceClassification)(tiny_config(num_labels=2, **quiet))
    model = Distillation(student, {"prediction": 1.0, "label": 1.0}, kind=kind)
    lengths, rng = [12, 3, 5, 9, 4], np.random.default_rng(1)
    rows, width = rows_of(lengths), (5 if kind == "multilabel" else sum(lengths), 2)
    logits = rng.normal(size=width).astype(np.float32)
    if kind == "multilabel":
        rows = rows.with_targets(labels=rng.integers(0, 2, (5, 2)).astype(np.float32))
        rows = rows.with_targets(teacher_logits=logits)
    else:
        scored = rng.random(sum(lengths)) < 0.6
        scored[rows.ends - rows.lengths] = True
        rows = rows.with_token_targets(
            scored=torch.from_numpy(scored), teacher_logits=torch.from_numpy(logits)
        )
        labels = torch.from_numpy(rng.integers(0, 2, sum(lengths)))
        if kind == "tokens":
            rows = rows.with_token_targets(labels=labels)
        else:
            rows = rows.with_targets(labels=np.zeros((5, 2), np.int64))
    parts = [range(5), range(sizes[0]), range(sizes[0], 5)]
    whole, first, second = (collate([rows[i] for i in of], 0) for of in parts)
    expected, expected_gradient = values_and_gradient(model, whole)
    terms = list(model.weights)
    counts = [term_counts(part, terms, kind) for part in (first, second)]
    found = [
        values_and_gradient(model, part, shares(count, sum(counts), 2))
        for part, count in zip((first, second), counts, strict=True)
    ]
    torch.testing.assert_close((found[0][0] + found[1][0]) / 2, expected)
    torch.testing.assert_close((found[0][1] + found[1][1]) / 2, expected_gradient)


def test_what_the_means_are_taken_over_is_counted():
    batch = collate([rows_of([3, 2])[0], rows_of([3, 2])[1]], 0)
    # pairs of real tokens: 3 * 3 + 2 * 2; real tokens: 3 + 2; rows: 2
    counts = term_counts(batch, ["attention", "hidden", "embedding", "prediction", "label"])
    assert counts.tolist() == [13, 5, 5, 2, 2]


def test_a_part_that_only_fills_up_counts_nothing():
    part = collate([Parts(rows_of([3, 2]))[~1]], 0)
    assert term_counts(part, ["attention", "hidden", "label"]).tolist() == [0, 0, 0]
    factors = shares(torch.tensor([0, 4]), torch.tensor([5, 5]), 2)
    # the only other part holds all five: its mean is the whole's, so its factor is 2
    assert factors.tolist() == pytest.approx([0.0, 1.6])
    assert shares(torch.tensor([5]), torch.tensor([5]), 2).tolist() == [2.0]


@pytest.mark.parametrize("num_rows", [24, 29, 25, 3])
@pytest.mark.parametrize("num_parts", [2, 4])
@pytest.mark.parametrize("kind", ["rows", "tokens"])
def test_the_parts_of_each_batch_have_the_rows_of_the_batch(num_rows, num_parts, kind):
    rows = rows_of([4 + i % 7 for i in range(num_rows)])

    def batches(part, of) -> list[list[int]]:
        whole = epoch_batches(rows, 8, kind, seed=3)
        whole.set_epoch(2)
        return list(PartBatches(whole, part, of))

    whole = batches(0, 1)
    parts = [batches(part, num_parts) for part in range(num_parts)]
    assert {len(each) for each in parts} == {len(whole)}
    for number, batch in enumerate(whole):
        pieces = [part[number] for part in parts]
        assert all(pieces)  # no process is without a row, or it would wait for ever
        assert sorted(row for piece in pieces for row in piece if row >= 0) == sorted(batch)


def test_a_batch_that_cannot_be_shared_out_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "3")
    schedule = SCHEDULE.model_copy(update={"batch_size": 32})
    with pytest.raises(InputError, match="got 32 rows and 3 processes"):
        require_shareable(schedule, Run("test", tmp_path, 0, None))


def test_what_another_process_than_the_first_writes_is_thrown_away(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    with replace_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("mine")
    with replace_file(tmp_path / "scores.json") as file:
        file.write_text("mine")
    assert list(tmp_path.iterdir()) == []
    assert not folder.exists()
    assert not file.exists()


def test_a_process_whose_parent_died_while_it_was_starting_ends(tmp_path):
    # The first one starts the second and dies; the second asks to die with it only afterwards.
    done = tmp_path / "done"
    second = (
        "import os, sys, time; parent = os.getppid(); print('started', flush=True); time.sleep(1);"
        "from tinybert.runtime.processes import die_with_parent; die_with_parent(parent);"
        f"open({str(done)!r}, 'w')"
    )
    first = (
        "import subprocess, sys;"
        f"child = subprocess.Popen([sys.executable, '-c', {second!r}], stdout=subprocess.PIPE);"
        "child.stdout.readline(); print(child.pid)"
    )
    found = subprocess.run(
        [sys.executable, "-c", first], capture_output=True, text=True, check=True
    )
    child = int(found.stdout)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}/status").exists() and time.monotonic() < deadline:
        if "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.05)
    assert not done.exists()
