"""Hugging Face's Trainer with this project's batches, terms, checkpoints and checks."""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer

from tinybert.distillation.distillation import Distillation
from tinybert.distillation.together import Together, log_of
from tinybert.runtime import precision
from tinybert.runtime.errors import InputError
from tinybert.runtime.processes import num_processes, of_the_first, rank, sum_over_all, wait_for_all
from tinybert.runtime.seeds import seed_step, step_seed
from tinybert.settings.schedule import Schedule
from tinybert.text.batching import (
    PartBatches,
    Parts,
    collator,
    epoch_batches,
)
from tinybert.text.encoded import Rows
from tinybert.training.cpu_dropout import CpuDropout
from tinybert.training.embeddings import in_parts
from tinybert.training.listeners import Row, announce
from tinybert.training.run import (
    WEIGHTS,
    Run,
    last_checkpoint,
    put_in_place,
    state_of,
)
from tinybert.training.step_graphs import StepGraphs
from tinybert.training.trainer_settings import Epochs, Evaluations, Lines, arguments_of

Evaluate = Callable[[], dict[str, float]]


def graphs_of(model: nn.Module, device: torch.device) -> StepGraphs | None:
    """Return what captures a model's passes, or None where they cannot be, or need not."""
    fits = isinstance(model, Distillation) and model.can_be_captured and num_processes() == 1
    return StepGraphs(list(model.parameters())) if fits and device.type == "cuda" else None


class PhaseTrainer(Trainer):  # type: ignore[misc]
    """The Trainer with this project's batches, terms in the log, own evaluation, finite losses.

    Its checkpoints are written beside and renamed, so a killed run finds whole ones only. Of
    several processes all take the same steps on their parts of each batch; the first one writes.
    """

    def __init__(
        self,
        model: nn.Module,
        rows: Rows,
        pad_token_id: int,
        schedule: Schedule,
        run: Run,
        evaluate: Evaluate | None,
        num_evaluated: int = 0,
    ) -> None:
        self.run, self.own_evaluate = run, evaluate
        # cuDNN's attention plans anew for each shape, and batches by tokens have many: without it a
        # step of the intermediate phase took 0.70 (MRPC) and 0.85 (SST-2) of the time on an H200.
        torch.backends.cuda.enable_cudnn_sdp(False)
        if run.compile and isinstance(model, Distillation | Together):
            model.compile_layers()
        self.batches = epoch_batches(rows, schedule.batch_size, schedule.batches, run.seed)
        super().__init__(
            model=model,
            args=arguments_of(len(self.batches), schedule, run, evaluate is not None),
            train_dataset=cast(Any, rows if num_processes() == 1 else Parts(rows)),
            eval_dataset=cast(Any, rows),  # never read: `evaluate` is our own
            data_collator=collator(rows, self.batches, pad_token_id),
            callbacks=[Lines(run.phase)] if not (sys.stderr.isatty() or rank()) else [],
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(Epochs(self.batches))
        self.add_callback(Evaluations(num_evaluated, len(rows), len(self.batches)))
        self.graphs = graphs_of(model, self.args.device)
        parts = list(model.students) if isinstance(model, Together) else [model]
        self._clipped = [list(part.parameters()) for part in parts]
        self._names: list[str] = []  # of the loss and the terms
        self._sums: Tensor | None = None  # of each, since the last row of the log
        self._num_summed = 0
        self._num_tokens: Tensor | int = 0
        self._row_time = time.monotonic()

    def run_to_the_end(self) -> Path:
        """Train, going on from the last whole checkpoint; return the one at the end."""
        if self.args.should_save:
            shutil.rmtree(self.args.output_dir, ignore_errors=True)
        wait_for_all()
        last = last_checkpoint(self.run.checkpoints)
        # The Trainer would take one more step after a checkpoint at the end.
        if last is None or state_of(Path(last)).global_step < self.args.max_steps:
            if last is not None:
                self._load_sums(Path(last))
            self.train(resume_from_checkpoint=last)
            last = last_checkpoint(self.run.checkpoints)
        assert last is not None
        return Path(last)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; losses and projections, which multiply in float32, may do so in TF32 meanwhile.

        Where layers compute in bfloat16, whose 8 bits are fewer than TF32's 11. What is scored
        afterwards is scored in float32.
        """
        torch.backends.cuda.matmul.allow_tf32 = self.run.dtype == torch.bfloat16
        try:
            with in_parts(self.model, self.args.device):
                return super().train(*args, **kwargs)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Give this process its part of each batch."""
        return DataLoader(
            cast(Any, self.train_dataset),
            batch_sampler=PartBatches(self.batches, rank(), num_processes()),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Take the loss from the model and sum up its terms for the log.

        The step's random numbers depend on seed, step and process alone.
        """
        seed_step(self._step_seed)
        terms = self._terms(model, inputs)
        self._add(torch.stack(list(terms.values())).detach().float(), inputs)
        return terms["loss"]

    @property
    def _step_seed(self) -> int:
        return step_seed(self.args.seed, self.state.global_step, rank())

    def _terms(self, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        # Compiled layers have a dropout of their own.
        fast = inputs["input_ids"].device.type == "cpu" and not self.run.compile
        with CpuDropout() if fast else nullcontext():
            terms: dict[str, Tensor] = model(**inputs)
        self._names = list(terms)
        return terms

    def _add(self, values: Tensor, inputs: dict[str, Tensor]) -> None:
        self._sums = values if self._sums is None else self._sums + values
        self._num_summed += 1
        self._num_tokens = self._num_tokens + inputs["attention_mask"].sum()  # read by `log` alone

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Stop at a loss that is no number, before the optimizer spoils the weights with it.

        Where looking at a number waits for the device, the sum of the losses is looked at instead,
        in `log` and before a checkpoint is written.
        """
        if self.graphs is not None:
            try:
                return self._captured_step(model, inputs, self.graphs)
            except RuntimeError as error:
                self._go_on_without_graphs(error)
        loss: Tensor = super().training_step(model, inputs, *args, **kwargs)
        if precision.reads_at_once(loss.device):
            mean = sum_over_all(loss) / num_processes()
            if not torch.isfinite(mean):
                self._stop_at_loss(f"at step {self.state.global_step + 1}")  # not counted yet
            return mean
        return loss

    def _captured_step(
        self, model: nn.Module, inputs: dict[str, Tensor], graphs: StepGraphs
    ) -> Tensor:
        """Make the forward and the backward pass by one launch."""

        def passes(batch: dict[str, Tensor]) -> Tensor:
            with self.compute_loss_context_manager():
                terms = self._terms(model, batch)
            self.accelerator.backward(terms["loss"])
            return torch.stack(list(terms.values())).detach().float()

        model.train()
        inputs = self._prepare_inputs(inputs)
        values = graphs.run(passes, inputs, self._step_seed).clone()
        self._add(values, inputs)
        return values[self._names.index("loss")]

    def _go_on_without_graphs(self, error: RuntimeError) -> None:
        self.graphs = None
        self.model.zero_grad()
        reason = str(error).splitlines()[0]
        print(f"{self.run.phase}: no CUDA graph of a step, slower: {reason}", file=sys.stderr)

    def _stop_at_loss(self, when: str | None = None) -> None:
        self._stop("the loss became NaN or infinite", when)

    def _means(self) -> dict[str, float]:
        """Return the means of loss and terms since the last row of the log, of all processes.

        Raises:
            InputError: The loss was no number once.
        """
        if self._sums is None:
            return {}
        sums = sum_over_all(self._sums) / num_processes()
        means = (sums.double() / self._num_summed).tolist()
        found = dict(zip(self._names, means, strict=True))
        if not math.isfinite(found["loss"]):
            self._stop_at_loss()
        return found

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip each student's gradient by its own norm, as if it were trained alone."""
        limit = self.args.max_grad_norm
        norms = [nn.utils.clip_grad_norm_(weights, limit) for weights in self._clipped]
        return norms[0]

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._means()  # stops at a loss that was no number
        weights = self.model.parameters()
        if not all(bool(torch.isfinite(weight).all()) for weight in weights):
            self._stop("a weight became NaN or infinite")
        super()._save_checkpoint(*args, **kwargs)
        written = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self._save_sums(written)
        wait_for_all()
        if self.args.should_save:
            put_in_place(written, self.run.checkpoints, self.state.best_global_step)
        wait_for_all()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_model(self.model, str(folder / WEIGHTS))  # knows tied weights

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # The Trainer's own stops at tied weights.
        load_model(self.model, Path(resume_from_checkpoint) / WEIGHTS)

    def _save_sums(self, checkpoint: Path) -> None:
        """Keep what was summed since the last row of the log, which the Trainer would forget."""
        values = [] if self._sums is None else self._sums.tolist()
        sums = dict(zip(self._names, values, strict=bool(values)))
        text = json.dumps({"num_summed": self._num_summed, "sums": sums})
        (checkpoint / f"sums_{rank()}.json").write_text(text, encoding="utf-8")

    def _load_sums(self, checkpoint: Path) -> None:
        kept = json.loads((checkpoint / f"sums_{rank()}.json").read_text(encoding="utf-8"))
        sums = kept["sums"]
        self._names = list(sums)
        self._sums = torch.tensor([*sums.values()], device=self.args.device) if sums else None
        self._num_summed = kept["num_summed"]

    def _stop(self, what: str, when: str | None = None) -> None:
        kept = last_checkpoint(self.run.checkpoints)
        when = when or f"by step {self.state.global_step}"
        raise InputError(
            f"{self.run.phase}: {what} {when} of {self.state.max_steps}, last good checkpoint: "
            f"{kept or 'none yet'}; lower the learning rate, or set precision to fp32"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Put in the means of the loss and of each term since the last row, of all processes."""
        means = self._means()
        if "loss" in logs and means:
            logs |= means
            self._sums, self._num_summed = None, 0
            self._announce_row(logs)
        super().log(logs, start_time)

    def _announce_row(self, logs: dict[str, float]) -> None:
        now = time.monotonic()
        speed = int(self._num_tokens) * self.args.world_size / max(now - self._row_time, 1e-9)
        self._num_tokens, self._row_time = 0, now
        if isinstance(self.model, Together):
            logs = log_of(self.model.names[0], logs)
        announce(Row(self.run.point, self.state.global_step, {**logs, "tokens_per_second": speed}))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score with the caller's function instead of the Trainer's loop."""
        assert self.own_evaluate is not None
        scores = of_the_first(self.own_evaluate())
        metrics = {"eval_selected": next(iter(scores.values()))}
        metrics |= {f"eval_{name}": value for name, value in scores.items()}
        self.log(dict(metrics))
        return metrics
