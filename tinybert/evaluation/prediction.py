"""Run a model over rows, and turn logits into a task's answers and scores."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.progress import track
from transformers import PreTrainedModel

from tinybert.encoders.signals import read_signals
from tinybert.evaluation.answers import (
    ALWAYS_ANSWER,
    Answers,
    answer_texts,
    best_answers,
    choose_null_threshold,
)
from tinybert.evaluation.decision import EVEN, Decision, choose_thresholds
from tinybert.evaluation.probabilities import Logits, objects, probabilities
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.entities import go_on, possible_order
from tinybert.tasks.metrics import multi_hot, score_task
from tinybert.tasks.squad_metrics import f1, gold_texts
from tinybert.tasks.task import Encoding, TaskInfo, read_split
from tinybert.tasks.words import words_inside_pieces
from tinybert.text.batching import Batch, collate, sorted_batches
from tinybert.text.encoded import EncodedRows, Rows


def predict_logits(
    model: PreTrainedModel,
    rows: Rows,
    dtype: torch.dtype | None,
    batch_tokens: int = 8192,
    title: str = "",
) -> Logits:
    """Return the logits of every row, in the rows' order.

    Args:
        model: An encoder with a task's head; put into eval mode for the pass and back.
        rows: Encoded rows.
        dtype: What the pass is autocast to; None for float32.
        batch_tokens: Padded tokens per batch.
        title: Of the progress bar; none without it.

    Returns:
        Shape (rows, outputs); where each token has logits, those of all rows' tokens one after the
        other, shape (tokens, outputs).
    """
    device, was_training = model.device, model.training

    def run(batch: Batch) -> Logits:
        signals = read_signals(model, {key: value.to(device) for key, value in batch.items()})
        assert signals.logits is not None
        return np.asarray(signals.logits.float().cpu().numpy())

    model.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        logits = gather_logits(run, rows, model.config.pad_token_id or 0, batch_tokens, title)
    model.train(was_training)
    return logits


def gather_logits(
    run: Callable[[Batch], Logits],
    rows: Rows,
    pad_token_id: int,
    batch_tokens: int = 8192,
    title: str = "",
) -> Logits:
    """Run a model over all rows, the longest first; return what `predict_logits` does.

    Args:
        run: Gives a batch's logits, shape (batch, outputs) or (batch, tokens, outputs).
        rows: At least one.
        pad_token_id: For padding batches.
        batch_tokens: Padded tokens per batch.
        title: Of the progress bar; none without it.
    """
    lengths, logits = rows.lengths, np.empty((0, 0), dtype=np.float32)
    ends, batches = np.cumsum(lengths), sorted_batches(rows, batch_tokens)
    for batch in track(batches, title, disable=not title, transient=True):
        found = run(collate([rows[int(row)] for row in batch], pad_token_id))
        if not logits.size:
            num = int(ends[-1]) if found.ndim == 3 else len(rows)
            logits = np.empty((num, found.shape[-1]), dtype=np.float32)
        if found.ndim == 2:
            logits[batch] = found
            continue
        for row, values in zip(batch, found, strict=True):
            logits[ends[row] - lengths[row] : ends[row]] = values[: lengths[row]]
    return logits


def pooled(logits: Logits, rows: EncodedRows, encoding: Encoding) -> Logits:
    """Return a text's logits from those of its windows, shape (texts, outputs).

    Args:
        logits: Shape (windows, outputs).
        rows: The windows.
        encoding: Says how: their mean, the largest of each output, or those of the first.
    """
    if rows.origins is None or not len(logits):
        return logits
    firsts = np.flatnonzero(np.diff(rows.origins, prepend=-1))
    if encoding.pool == "first":
        return logits[firsts]
    if encoding.pool == "max":
        return np.maximum.reduceat(logits, firsts)
    counts = np.diff(firsts, append=len(logits))[:, None]
    return (np.add.reduceat(logits, firsts) / counts).astype(np.float32)


@dataclass(frozen=True)
class TaskSplit:
    """Rows of a task, encoded once for all models that answer them.

    Attributes:
        info: The task.
        encoding: How its rows were encoded.
        frame: The rows, columns as in `task`'s docstring.
        rows: The encoded rows.
    """

    info: TaskInfo
    encoding: Encoding
    frame: pd.DataFrame
    rows: EncodedRows

    @cached_property
    def gold(self) -> NDArray[Any]:
        """The labels, one a row; of several labels, tags and answers a list a row."""
        return self.frame["label"].to_numpy()

    def row_logits(self, logits: Logits) -> Logits:
        """Return one row of logits for each text that a label is of, shape (rows, outputs)."""
        return pooled(logits, self.rows, self.encoding)

    def word_logits(self, logits: Logits) -> Logits:
        """Return the logits of the tokens that count, shape (words, outputs); of tokens alone."""
        assert self.rows.places is not None
        return logits[self.rows.places >= 0]

    def best_answers(self, logits: Logits) -> Answers:
        """Return each question's best answer; of span alone."""
        rows, length = self.rows, self.encoding.max_answer_length
        assert rows.origins is not None and rows.places is not None
        return best_answers(logits, rows.ends, rows.origins, rows.places, len(self.frame), length)

    def decision(self, logits: Logits) -> Decision:
        """Choose thresholds by these rows' labels, of a kind that has some."""
        if self.info.kind == "multilabel":
            given = probabilities(self.row_logits(logits))
            gold = multi_hot(self.gold, self.info.num_outputs)
            per_label = self.info.metrics[0] == "f1_macro"
            return Decision(thresholds=choose_thresholds(given, gold, per_label))
        if self.info.kind == "span":
            return self._null_decision(self.best_answers(logits))
        return Decision()

    def _null_decision(self, found: Answers) -> Decision:
        """Choose the null threshold by the questions' best answers."""
        golds = gold_texts(self.gold)
        empty = np.array([not of for of in golds])
        if not empty.any():
            return Decision()
        texts = answer_texts(self.frame["sentence2"].tolist(), found, ALWAYS_ANSWER)
        pairs = zip(texts, golds, strict=True)
        scores = np.array([f1(text, of) if of else 0.0 for text, of in pairs])
        return Decision(null_threshold=choose_null_threshold(found.null_odds, scores, empty))

    def predictions(self, logits: Logits, decision: Decision | None = None) -> NDArray[Any]:
        """Return each row's answer: shape (rows,).

        A label's number or a value; of several labels their numbers, of tokens each word's tag
        (of a word that was cut off: O), of span a text, empty for no answer.

        Args:
            logits: Of `predict_logits`.
            decision: Thresholds; None: those that are best on these rows.
        """
        kind = self.info.kind
        if kind == "regression":
            return self.row_logits(logits)[:, 0]
        if kind == "classification":
            return np.asarray(self.row_logits(logits).argmax(axis=1))
        if kind == "tokens":
            return self._tags(logits)
        if kind == "multilabel":
            decision = decision or self.decision(logits)
            given = probabilities(self.row_logits(logits))
            named = given > np.array(decision.thresholds or (EVEN,) * given.shape[1])
            return objects([np.flatnonzero(row) for row in named])
        found = self.best_answers(logits)
        threshold = (decision or self._null_decision(found)).null_threshold
        most = ALWAYS_ANSWER if threshold is None else threshold
        return objects(answer_texts(self.frame["sentence2"].tolist(), found, most))

    def beside(self, logits: Logits) -> NDArray[Any]:
        """Return what a file of predictions has beside them, as `write_predictions` takes it."""
        if self.info.kind == "span":
            return self.best_answers(logits).null_odds
        return logits if self.info.kind == "tokens" else self.row_logits(logits)

    def _tags(self, logits: Logits) -> NDArray[Any]:
        rows = self.rows
        assert rows.places is not None
        lengths = self.frame["word_starts"].map(len).to_numpy()
        starts = np.concatenate([[0], np.cumsum(lengths)])
        tags = np.zeros(starts[-1], dtype=np.int64)
        scored = rows.places >= 0
        tags[starts[rows.token_origins[scored]] + rows.places[scored]] = logits[scored].argmax(
            axis=1
        )
        shown = np.zeros(len(tags), dtype=bool)
        shown[starts[rows.token_origins[scored]] + rows.places[scored]] = True
        splits = (np.split(of, starts[1:-1]) if len(lengths) else [] for of in (tags, shown))
        columns = (self.frame[name] for name in ("sentence1", "word_starts", "word_ends"))
        to_end = self.encoding.long == "windows"  # else a text's last words may be cut off
        found = []
        for text, begins, ends, of, shows in zip(*columns, *splits, strict=True):
            inside = words_inside_pieces(text, begins, ends, shows, to_end)
            found.append(possible_order(go_on(of, inside, self.info.labels), self.info.labels))
        return objects(found)

    def scores(self, logits: Logits, decision: Decision | None = None) -> dict[str, float]:
        """Return the task's metrics, the selecting one first; arguments as for `predictions`."""
        return score_task(self.info, self.predictions(logits, decision), self.gold)


def task_split(
    frame: pd.DataFrame, tokenizer: Any, encoding: Encoding, info: TaskInfo
) -> TaskSplit:
    """Encode rows to be answered."""
    return TaskSplit(info, encoding, frame, encode_split(frame, tokenizer, encoding))


def read_task_split(
    folder: Path, split: str, tokenizer: Any, encoding: Encoding, info: TaskInfo
) -> TaskSplit:
    """Read and encode a split of a prepared task."""
    return task_split(read_split(folder, split), tokenizer, encoding, info)
