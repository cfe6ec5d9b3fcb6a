"""Train on rows: Hugging Face's Trainer with this project's batches, terms and checks.

Loops, devices, mixed precision, clipping, schedules, checkpoints and resuming are the Trainer's.
"""

import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from pydantic import Field
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from tinybert.batching import Rows, collate, sampler
from tinybert.errors import InputError
from tinybert.listeners import Ended, Row, Started, announce, announced
from tinybert.settings import Settings


class Schedule(Settings):
    """How long and how fast to train: linear warm-up, then linear decay to 0."""

    num_epochs: float = Field(gt=0)
    max_steps: int | None = Field(ge=1)  # stops earlier than num_epochs where it is smaller
    batch_size: int = Field(ge=1)  # rows
    learning_rate: float = Field(gt=0)
    warmup_ratio: float = Field(ge=0, lt=1)  # share of the steps
    weight_decay: float = Field(ge=0)

    def num_steps(self, num_rows: int) -> int:
        """Return the optimizer steps that training on so many rows takes."""
        steps = max(1, math.ceil(self.num_epochs * math.ceil(num_rows / self.batch_size)))
        return min(steps, self.max_steps or steps)


@dataclass(frozen=True)
class Run:
    """Where and how a phase trains, whatever it trains.

    Attributes:
        phase: The stage's name and arguments, for messages.
        checkpoints: Folder of this run's checkpoints, outside the outputs; removed at the end.
        seed: Of shuffling and dropout.
        dtype: What forward passes are autocast to; None for float32.
        save_steps: Steps between checkpoints.
        log_steps: Steps between rows of the history.
        training_id: Name of the whole grid this run is a part of; empty: the checkpoints' folder.
        point: Name of this run in the grid; empty where there is one run.
    """

    phase: str
    checkpoints: Path
    seed: int
    dtype: torch.dtype | None
    save_steps: int = 500
    log_steps: int = 20
    training_id: str = ""
    point: str = ""


Evaluate = Callable[[], dict[str, float]]


def train(
    model: nn.Module,
    rows: Rows,
    pad_token_id: int,
    schedule: Schedule,
    run: Run,
    evaluate: Evaluate | None = None,
) -> tuple[pd.DataFrame, float]:
    """Train a model whose forward pass returns `loss` and `loss/<term>`s.

    Goes on from the last whole checkpoint in `run.checkpoints`, if there is one.

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
        InputError: There are no rows, or the loss or a weight became NaN or infinite.
    """
    if not len(rows):
        raise InputError(f"{run.phase}: no rows to train on, got 0; check the stage before")
    set_seed(run.seed)
    trainer = _PhaseTrainer(
        model=model,
        args=_arguments(len(rows), schedule, run, evaluate is not None),
        train_dataset=cast(Any, rows),
        eval_dataset=cast(Any, rows),  # never read: `evaluate` is our own, but one must be named
        data_collator=partial(collate, pad_token_id=pad_token_id),
        callbacks=[_Lines(run.phase)] if not sys.stderr.isatty() else [],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.phase, trainer.own_evaluate, trainer.point = run.phase, evaluate, run.point
    training_id = run.training_id or run.checkpoints.name
    with announced(Started(training_id, run.phase, run.point, schedule.model_dump())):
        trainer.train(resume_from_checkpoint=last_checkpoint(run.checkpoints))
    best = trainer.state.best_metric
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    history = _history(trainer.state.log_history)
    announce(Ended(run.point, history))
    return history, math.nan if best is None else float(best)


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end, if any.

    The Trainer writes `trainer_state.json` last, so a checkpoint without it was cut off.
    """
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    newest = max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)
    return None if newest is None else str(newest)


def _arguments(num_rows: int, schedule: Schedule, run: Run, selects: bool) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    num_steps = schedule.num_steps(num_rows)
    return TrainingArguments(
        output_dir=str(run.checkpoints),
        max_steps=num_steps,
        per_device_train_batch_size=schedule.batch_size,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(schedule.warmup_ratio * num_steps),
        weight_decay=schedule.weight_decay,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=run.dtype == torch.bfloat16,
        use_cpu=not cuda,
        eval_strategy="epoch" if selects else "no",
        save_strategy="epoch" if selects else "steps",
        save_steps=run.save_steps,
        save_total_limit=1,
        load_best_model_at_end=selects,
        metric_for_best_model="selected" if selects else None,
        greater_is_better=True if selects else None,
        logging_steps=min(run.log_steps, max(1, num_steps // 10)),
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
        seed=run.seed,
    )


class _PhaseTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with this project's sampler, terms in the log, own evaluation, finite losses."""

    phase = ""
    point = ""
    own_evaluate: Evaluate | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._sums: dict[str, Tensor] = {}
        self._num_summed = 0
        self._num_tokens: Tensor | int = 0
        self._row_time = time.monotonic()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return sampler(self.train_dataset, self.args.per_device_train_batch_size, self.args.seed)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Take the loss from the model and sum up its terms for the log."""
        terms = model(**inputs)
        for name, value in terms.items():
            if name.startswith("loss/"):
                self._sums[name] = self._sums.get(name, 0) + value.detach().float()
        self._num_summed += 1
        self._num_tokens = self._num_tokens + inputs["attention_mask"].sum()  # read by `log` alone
        return cast(Tensor, terms["loss"])

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Stop at a loss that is no number, before the optimizer spoils the weights with it."""
        loss = cast(Tensor, super().training_step(*args, **kwargs))
        if not torch.isfinite(loss):
            self._stop(f"the loss became {loss.item()}")
        return loss

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        weights = self.model.parameters()
        if not all(bool(torch.isfinite(weight).all()) for weight in weights):
            self._stop("a weight became NaN or infinite")
        super()._save_checkpoint(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(folder / "model.safetensors"))  # knows tied weights

    def _stop(self, what: str) -> None:
        kept = last_checkpoint(Path(self.args.output_dir))
        raise InputError(
            f"{self.phase}: {what} at step {self.state.global_step + 1} of "
            f"{self.state.max_steps}, last good checkpoint: {kept or 'none yet'}; lower the "
            "learning rate, or set precision to fp32"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of each term since the last row."""
        if "loss" in logs and self._num_summed:
            logs |= {name: float(value) / self._num_summed for name, value in self._sums.items()}
            self._sums, self._num_summed = {}, 0
            self._announce_row(logs)
        super().log(logs, start_time)

    def _announce_row(self, logs: dict[str, float]) -> None:
        now = time.monotonic()
        speed = int(self._num_tokens) * self.args.world_size / max(now - self._row_time, 1e-9)
        self._num_tokens, self._row_time = 0, now
        announce(Row(self.point, self.state.global_step, {**logs, "tokens_per_second": speed}))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score with the caller's function instead of the Trainer's loop."""
        assert self.own_evaluate is not None
        scores = self.own_evaluate()
        metrics = {"eval_selected": next(iter(scores.values()))}
        metrics |= {f"eval_{name}": value for name, value in scores.items()}
        self.log(dict(metrics))
        return metrics


class _Lines(TrainerCallback):  # type: ignore[misc]
    """Progress as lines, where there is no terminal to draw a bar on."""

    seconds_between = 20.0

    def __init__(self, phase: str) -> None:
        self.phase, self.last = phase, time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Print where training stands, now and then."""
        due = time.monotonic() - self.last > self.seconds_between
        if "loss" in logs and due:
            self.last = time.monotonic()
            place = f"step {state.global_step}/{state.max_steps}"
            print(f"{self.phase}: {place}, loss {logs['loss']:.4f}", file=sys.stderr, flush=True)


def _history(log: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [row for row in log if "loss" in row]
    terms = sorted({key for row in rows for key in row if key.startswith("loss/")})
    return pd.DataFrame(rows, columns=["step", "epoch", "loss", *terms, "learning_rate"])


def empty_history() -> pd.DataFrame:
    """Return the history of a phase without terms."""
    return _history([])
