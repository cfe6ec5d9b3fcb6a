"""Train on rows: Hugging Face's Trainer with this project's batches, terms and checks.

Loops, devices, mixed precision, clipping, schedules, checkpoints and resuming are the Trainer's.
"""

import json
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
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from tinybert.batching import Batches, EpochSampler, Parts, Rows, collate, sampler
from tinybert.errors import InputError
from tinybert.listeners import Ended, Row, Started, announce, announced
from tinybert.processes import num_processes, of_the_first, rank, sum_over_all, wait_for_all
from tinybert.resuming import (
    FINISHED,
    HISTORY,
    PARTIAL,
    WEIGHTS,
    keep_finished,
    last_checkpoint,
    put_in_place,
    state_of,
)
from tinybert.settings import Settings


class Schedule(Settings):
    """How long and how fast to train: linear warm-up, then linear decay to 0."""

    num_epochs: float = Field(gt=0)
    max_steps: int | None = Field(ge=1)  # stops earlier than num_epochs where it is smaller
    batch_size: int = Field(ge=1)  # rows, of all processes together
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
        checkpoints: Folder of this run's checkpoints, outside the outputs.
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

    def finish(self) -> None:
        """Remove the checkpoints; called once the outputs are in place."""
        if rank():
            return
        # Renamed before, so that no later run goes on from what a kill left of them.
        removed = self.checkpoints.with_name(f"{self.checkpoints.name}.removed")
        shutil.rmtree(removed, ignore_errors=True)
        if self.checkpoints.is_dir():
            self.checkpoints.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


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
    trainer = _PhaseTrainer(
        model=model,
        args=_arguments(len(rows), schedule, run, evaluate is not None),
        train_dataset=cast(Any, rows if num_processes() == 1 else Parts(rows)),
        eval_dataset=cast(Any, rows),  # never read: `evaluate` is our own, but one must be named
        data_collator=partial(collate, pad_token_id=pad_token_id),
        callbacks=[_Lines(run.phase)] if not (sys.stderr.isatty() or rank()) else [],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.phase, trainer.own_evaluate, trainer.checkpoints = run.phase, evaluate, run.checkpoints
    trainer.point = run.point
    trainer.order = sampler(rows, schedule.batch_size, run.seed)
    trainer.add_callback(_Epochs(trainer.order))
    training_id = run.training_id or run.checkpoints.name
    with announced(Started(training_id, run.phase, run.point, schedule.model_dump())):
        if not (run.checkpoints / FINISHED).is_dir():
            keep_finished(trainer.run_to_the_end(), run.checkpoints)
    load_model(model, run.checkpoints / FINISHED / WEIGHTS)  # knows tied weights
    kept = json.loads((run.checkpoints / FINISHED / HISTORY).read_text(encoding="utf-8"))
    wait_for_all()  # else the first process might remove what others still read
    set_seed(run.seed)  # what is drawn later must not depend on how much was trained just now
    best, history = kept["best"], _history(kept["log"])
    announce(Ended(run.point, history))
    return history, math.nan if best is None else float(best)


def require_shareable(schedule: Schedule, run: Run) -> None:
    """Check that each process gets as many rows of a batch.

    Raises:
        InputError: The batch size is no multiple of the number of processes.
    """
    if schedule.batch_size % num_processes():
        raise InputError(
            f"{run.phase}: the batch size must be a multiple of the number of processes, got "
            f"{schedule.batch_size} rows and {num_processes()} processes; change one"
        )


def _arguments(num_rows: int, schedule: Schedule, run: Run, selects: bool) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    num_steps = schedule.num_steps(num_rows)
    arguments = TrainingArguments(
        output_dir=str(run.checkpoints / PARTIAL),
        max_steps=num_steps,
        per_device_train_batch_size=schedule.batch_size // num_processes(),
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
        metric_for_best_model="selected" if selects else None,
        greater_is_better=True if selects else None,
        logging_steps=min(run.log_steps, max(1, num_steps // 10)),
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
        seed=run.seed,
        ddp_find_unused_parameters=True,  # a pooler has no part in a layer's term
        ddp_broadcast_buffers=False,
    )
    # One process trains on one device: two GPUs would double the batch. More: `accelerate launch`.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


class _PhaseTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with this project's batches, terms in the log, own evaluation, finite losses.

    Its checkpoints are written beside and renamed, so a killed run finds whole ones only. Of
    several processes all take the same steps on their parts of each batch; the first one writes.
    """

    phase = ""
    point = ""
    own_evaluate: Evaluate | None = None
    checkpoints: Path
    order: EpochSampler

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._sums: dict[str, Tensor] = {}
        self._num_summed = 0
        self._num_tokens: Tensor | int = 0
        self._row_time = time.monotonic()

    def run_to_the_end(self) -> Path:
        """Train, going on from the last whole checkpoint; return the one at the end."""
        if self.args.should_save:
            shutil.rmtree(self.args.output_dir, ignore_errors=True)
        wait_for_all()
        last = last_checkpoint(self.checkpoints)
        # The Trainer would take one more step after a checkpoint at the end.
        if last is None or state_of(Path(last)).global_step < self.args.max_steps:
            if rank():
                set_seed(self.args.seed + rank())
            if last is not None:
                self._load_sums(Path(last))
            self.train(resume_from_checkpoint=last)
            last = last_checkpoint(self.checkpoints)
        assert last is not None
        return Path(last)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Give this process its part of each batch."""
        batch_size = self.args.per_device_train_batch_size * num_processes()
        return DataLoader(
            cast(Any, self.train_dataset),
            batch_sampler=Batches(self.order, batch_size, rank(), num_processes()),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Take the loss from the model and sum up its terms for the log."""
        terms = model(**inputs)
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().float()
        self._num_summed += 1
        self._num_tokens = self._num_tokens + inputs["attention_mask"].sum()  # read by `log` alone
        return cast(Tensor, terms["loss"])

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Stop at a loss that is no number, before the optimizer spoils the weights with it."""
        loss = sum_over_all(super().training_step(*args, **kwargs)) / num_processes()
        if not torch.isfinite(loss):
            self._stop(f"the loss became {loss.item()}")
        return loss

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        weights = self.model.parameters()
        if not all(bool(torch.isfinite(weight).all()) for weight in weights):
            self._stop("a weight became NaN or infinite")
        super()._save_checkpoint(*args, **kwargs)
        written = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self._save_sums(written)
        wait_for_all()
        if self.args.should_save:
            put_in_place(written, self.checkpoints, self.state.best_global_step)
        wait_for_all()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_model(self.model, str(folder / WEIGHTS))  # knows tied weights

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_model(
            self.model, Path(resume_from_checkpoint) / WEIGHTS
        )  # the Trainer's stops at tied ones

    def _save_sums(self, checkpoint: Path) -> None:
        """Keep what was summed since the last row of the log, which the Trainer would forget."""
        sums = {name: float(value) for name, value in self._sums.items()}
        text = json.dumps({"num_summed": self._num_summed, "sums": sums})
        (checkpoint / f"sums_{rank()}.json").write_text(text, encoding="utf-8")

    def _load_sums(self, checkpoint: Path) -> None:
        kept = json.loads((checkpoint / f"sums_{rank()}.json").read_text(encoding="utf-8"))
        device = self.args.device
        self._sums = {name: torch.tensor(v, device=device) for name, v in kept["sums"].items()}
        self._num_summed = kept["num_summed"]

    def _stop(self, what: str) -> None:
        kept = last_checkpoint(self.checkpoints)
        raise InputError(
            f"{self.phase}: {what} at step {self.state.global_step + 1} of "
            f"{self.state.max_steps}, last good checkpoint: {kept or 'none yet'}; lower the "
            "learning rate, or set precision to fp32"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Put in the means of the loss and of each term since the last row, of all processes."""
        if "loss" in logs and self._num_summed:
            sums = sum_over_all(torch.stack(list(self._sums.values()))) / num_processes()
            means = (sums.double() / self._num_summed).tolist()
            logs |= dict(zip(self._sums, means, strict=True))
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
        scores = of_the_first(self.own_evaluate())
        metrics = {"eval_selected": next(iter(scores.values()))}
        metrics |= {f"eval_{name}": value for name, value in scores.items()}
        self.log(dict(metrics))
        return metrics


class _Epochs(TrainerCallback):  # type: ignore[misc]
    """Tells the sampler the epoch, which the Trainer does for some samplers only."""

    def __init__(self, order: EpochSampler) -> None:
        self.order = order

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Choose the order; within an epoch that is gone on with, `state.epoch` is no integer."""
        self.order.set_epoch(int(state.epoch or 0))


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
