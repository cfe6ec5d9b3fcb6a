"""Train on rows: the Trainer's loops over this project's batches, terms and checks.

Loops, devices, mixed precision, clipping, schedules, checkpoints and resuming are the Trainer's.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
from safetensors.torch import load_model, save_model
from torch import nn
from transformers import set_seed

from tinybert.distillation.distillation import Distillation
from tinybert.distillation.together import Together, log_of
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_folder
from tinybert.runtime.processes import wait_for_all
from tinybert.settings.schedule import Schedule
from tinybert.text.encoded import Rows
from tinybert.training.listeners import Ended, Started, announce, announced
from tinybert.training.phase_trainer import Evaluate, PhaseTrainer
from tinybert.training.run import (
    FINISHED,
    HISTORY,
    WEIGHTS,
    Run,
    keep_finished,
    require_shareable,
    state_of,
)


def train(
    model: nn.Module,
    rows: Rows,
    pad_token_id: int,
    schedule: Schedule,
    run: Run,
    evaluate: Evaluate | None = None,
    num_evaluated: int = 0,
) -> tuple[pd.DataFrame, float]:
    """Train a model whose forward pass returns `loss` and `loss/<term>`s.

    Goes on from the last whole checkpoint in `run.checkpoints`, if there is one. What came out is
    kept there until `run.finish()`, so a run that came to its end is not done again.

    Args:
        model: What to train, in place.
        rows: Training rows.
        pad_token_id: For padding batches.
        schedule: Length and speed.
        run: Where and how.
        evaluate: Called at the end and between epochs, as often as `epochs_between` says; the
            weights with the highest first value are kept.
        num_evaluated: Rows that it scores.

    Returns:
        The history, rows at most `log_steps` apart with the means of the terms since the row
        before; and the best value of `evaluate`, NaN without one.

    Raises:
        InputError: There are no rows, the batch cannot be shared out to the processes, or the loss
            or a weight became NaN or infinite.
    """
    if not len(rows):
        raise InputError(f"{run.phase}: no rows to train on, got 0; check the stage before")
    require_shareable(schedule, run)
    set_seed(run.seed)
    training_id = run.training_id or run.checkpoints.name
    with announced(Started(training_id, run.phase, run.point, schedule.model_dump())):
        if not run.is_finished:
            trainer = PhaseTrainer(
                model, rows, pad_token_id, schedule, run, evaluate, num_evaluated
            )
            keep_finished(trainer.run_to_the_end(), run.checkpoints)
    load_model(model, run.checkpoints / FINISHED / WEIGHTS)  # knows tied weights
    kept = json.loads((run.checkpoints / FINISHED / HISTORY).read_text(encoding="utf-8"))
    wait_for_all()  # else the first process might remove what others still read
    set_seed(run.seed)  # what is drawn later must not depend on how much was trained just now
    best, history = kept["best"], _history(kept["log"])
    announce(Ended(run.point, history))
    return history, math.nan if best is None else float(best)


def train_together(
    models: Mapping[str, Distillation],
    rows: Rows,
    pad_token_id: int,
    schedule: Schedule,
    runs: Mapping[str, Run],
) -> None:
    """Train several students on one pass of their teacher each step, as `train` would each.

    What comes out is kept in each one's run, where `train` then finds it.

    Args:
        models: By name, all with one teacher; the listeners hear of the first.
        rows: Training rows.
        pad_token_id: For padding batches.
        schedule: Length and speed, of all.
        runs: Where and how, by name; they differ in phase and checkpoints alone.

    Raises:
        InputError: As in `train`; one student's loss that is no number stops all.
    """
    first = next(iter(runs.values()))
    names = hashlib.sha256("".join(run.checkpoints.name for run in runs.values()).encode())
    folder = first.checkpoints.with_name(f"together_{names.hexdigest()[:16]}")
    group = replace(first, checkpoints=folder, phase=" + ".join(run.phase for run in runs.values()))
    together = Together(models)
    set_seed(group.seed)
    try:
        with announced(Started(first.checkpoints.name, first.phase, "", schedule.model_dump())):
            trainer = PhaseTrainer(together, rows, pad_token_id, schedule, group, None)
            last = trainer.run_to_the_end()
    except InputError:
        group.finish()  # each alone begins anew
        raise
    load_model(together, last / WEIGHTS)
    log = state_of(last).log_history
    for name, run in runs.items():
        with replace_folder(run.checkpoints / FINISHED) as finished:
            save_model(models[name], str(finished / WEIGHTS))
            kept = {"best": None, "log": [log_of(name, row) for row in log]}
            (finished / HISTORY).write_text(json.dumps(kept), encoding="utf-8")
    wait_for_all()
    group.finish()


def _history(log: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [row for row in log if "loss" in row]
    terms = sorted({key for row in rows for key in row if key.startswith("loss/")})
    return pd.DataFrame(rows, columns=["step", "epoch", "loss", *terms, "learning_rate"])


def empty_history() -> pd.DataFrame:
    """Return the history of a phase without terms."""
    return _history([])
