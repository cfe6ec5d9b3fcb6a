"""Train on rows: the Trainer's loops over this project's batches, terms and checks.

Loops, devices, mixed precision, clipping, schedules, checkpoints and resuming are the Trainer's.
"""

import json
import math
from typing import Any

import pandas as pd
from safetensors.torch import load_model
from torch import nn
from transformers import set_seed

from tinybert.batching import Rows
from tinybert.errors import InputError
from tinybert.listeners import Ended, Started, announce, announced
from tinybert.phase_trainer import Evaluate, PhaseTrainer
from tinybert.processes import wait_for_all
from tinybert.resuming import FINISHED, HISTORY, WEIGHTS, keep_finished
from tinybert.schedule import Run, Schedule, require_shareable


def train(
    model: nn.Module,
    rows: Rows,
    pad_token_id: int,
    schedule: Schedule,
    run: Run,
    evaluate: Evaluate | None = None,
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
        evaluate: Called after each epoch; the epoch with the highest first value is kept.

    Returns:
        The history, one row per `log_steps` with the means of the terms since the row before; and
        the best value of `evaluate`, NaN without one.

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
        if not (run.checkpoints / FINISHED).is_dir():
            trainer = PhaseTrainer(model, rows, pad_token_id, schedule, run, evaluate)
            keep_finished(trainer.run_to_the_end(), run.checkpoints)
    load_model(model, run.checkpoints / FINISHED / WEIGHTS)  # knows tied weights
    kept = json.loads((run.checkpoints / FINISHED / HISTORY).read_text(encoding="utf-8"))
    wait_for_all()  # else the first process might remove what others still read
    set_seed(run.seed)  # what is drawn later must not depend on how much was trained just now
    best, history = kept["best"], _history(kept["log"])
    announce(Ended(run.point, history))
    return history, math.nan if best is None else float(best)


def _history(log: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [row for row in log if "loss" in row]
    terms = sorted({key for row in rows for key in row if key.startswith("loss/")})
    return pd.DataFrame(rows, columns=["step", "epoch", "loss", *terms, "learning_rate"])


def empty_history() -> pd.DataFrame:
    """Return the history of a phase without terms."""
    return _history([])
