"""Whether a task's teacher is fine-tuned for it: what it says of dev rows, and its head's weights.

What was seen is kept under `checkpoints/doctor/`, so the stages of one teacher look once.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from transformers import PreTrainedModel

from tinybert.doctor.agreement import BETTER_THAN_CHANCE, agreement_z, better_order, kappa
from tinybert.doctor.findings import Finding, doubt, right, wrong
from tinybert.encoders.checkpoints import head_class, load_tokenizer, missing_weights
from tinybert.encoders.layers import last_layer
from tinybert.evaluation.decision import Decision
from tinybert.evaluation.prediction import TaskSplit, predict_logits, task_split
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_file
from tinybert.runtime.precision import computing_device
from tinybert.settings.reader import Settings
from tinybert.tasks.metrics import score
from tinybert.tasks.squad_metrics import f1, gold_texts
from tinybert.tasks.task import DEV, Encoding, TaskInfo, read_info, read_split
from tinybert.text.encoded import SCORED

MAX_ROWS, SEED = 1_000, 0  # of the dev split, and of their drawing
FEWEST_ROWS = 50  # of which anything is said
REVERSED = -NormalDist().inv_cdf(1e-3)
HARDLY = 0.1  # a kappa, or a rank correlation, below which there is little to distil
# An untrained head on a pretrained encoder may agree with the labels a little, by luck.
AGREES_ANYWAY = 0.5

Load = Callable[[Path, TaskInfo], PreTrainedModel]


class Seen(Settings):
    """What a teacher did on dev rows.

    Attributes:
        has_head: Whether the checkpoint holds a classifier's weights; without, nothing was run.
        untrained_head: Whether the head's bias is still 0 in every output, as it is made.
        num_rows: That it was asked about.
        scores: The task's metrics.
        table: Confusion matrix, gold by predicted, of rows; of tokens of words, of several labels
            of rows with one; empty for regression and span.
        correlation: Spearman's, for regression; of span the mean F1 of answers where there is one.
    """

    has_head: bool
    untrained_head: bool = False
    num_rows: int = 0
    scores: dict[str, float] = {}  # noqa: RUF012  (pydantic copies it)
    table: list[list[int]] = []  # noqa: RUF012
    correlation: float = 0.0


def look_at(
    teacher: Path, task_folder: Path, encoding: Encoding, dtype: torch.dtype | None, load: Load
) -> Seen:
    """Run a teacher over dev rows, or read what was seen of it before.

    Args:
        teacher: Its folder.
        task_folder: The prepared task.
        encoding: How rows become tokens.
        dtype: What the pass is autocast to.
        load: Gives the classifier with its outputs in the task's order.

    Raises:
        InputError: The outputs' names are not the task's labels.
    """
    asked = {"encoding": encoding, "dtype": dtype, "load": load.__name__, "rows": MAX_ROWS}
    read = [teacher, task_folder, Path(__file__)]  # a folder's name leaves the doctor's code out
    file = checkpoints_folder("doctor", asked, read) / "teacher.json"
    if file.is_file():
        with suppress(ValidationError):
            return Seen.model_validate_json(file.read_text(encoding="utf-8"))
    seen = _look(teacher, task_folder, encoding, dtype, load)
    with replace_file(file) as partial:
        partial.write_text(json.dumps(seen.model_dump()), encoding="utf-8")
    return seen


def _look(
    teacher: Path, task_folder: Path, encoding: Encoding, dtype: torch.dtype | None, load: Load
) -> Seen:
    missing = missing_weights(head_class(encoding.kind), teacher)
    if any("pooler" not in name for name in missing):
        return Seen(has_head=False)
    info, frame = read_info(task_folder), read_split(task_folder, DEV)
    model = load(teacher, info).to(computing_device())
    drawn = np.random.default_rng(SEED).permutation(len(frame))[:MAX_ROWS]
    frame = frame.iloc[np.sort(drawn)].reset_index(drop=True)
    dev = task_split(frame, load_tokenizer(teacher), encoding, info)
    logits = predict_logits(model, dev.rows, dtype)
    seen: dict[str, Any] = {"has_head": True, "untrained_head": _untrained(model)}
    seen |= {"num_rows": len(frame), "scores": dev.scores(logits)}
    if info.labels:
        from sklearn.metrics import confusion_matrix

        gold, named = _choices(dev, logits)
        labels = list(range(len(info.labels)))
        table = confusion_matrix(gold, named, labels=labels) if len(gold) else np.zeros((2, 2), int)
        seen |= {"table": table.tolist(), "num_rows": len(gold)}
    elif info.kind == "regression":
        named = dev.predictions(logits)
        seen["correlation"] = score(["spearman"], named, dev.gold)["spearman"]
    else:
        seen["correlation"] = _found_answers(dev, logits)
    return Seen(**seen)


def _choices(dev: TaskSplit, logits: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return single choices, gold and the teacher's: of rows, of words, of rows with one label."""
    if dev.info.kind == "tokens":
        scored = dev.rows.token_targets["labels"].numpy()[dev.rows.token_targets[SCORED].numpy()]
        return scored, dev.word_logits(logits).argmax(axis=1)
    named = dev.row_logits(logits).argmax(axis=1)
    if dev.info.kind == "classification":
        return dev.gold, named
    single = np.array([len(of) == 1 for of in dev.gold], dtype=bool)
    return np.array([of[0] for of in dev.gold[single]], dtype=np.int64), named[single]


def _found_answers(dev: TaskSplit, logits: NDArray[np.float32]) -> float:
    """Return the mean F1 of the answers to answerable questions, where one must be given."""
    texts = dev.predictions(logits, Decision())
    pairs = zip(texts, gold_texts(dev.gold), strict=True)
    found = [f1(text, of) for text, of in pairs if of]
    return float(np.mean(found)) if found else 0.0


def _untrained(model: PreTrainedModel) -> bool:
    """Say whether the last layer's bias is 0 everywhere, which no optimizer leaves it."""
    bias = last_layer(model).bias
    return bias is not None and not bool(bias.any())


def judge(seen: Seen, info: TaskInfo, teacher: Path) -> list[Finding]:
    """Say whether what was seen is what a teacher fine-tuned for the task does."""
    cure = (
        f"run `dvc repro finetune_teacher@{info.name}` with enough steps, or name a teacher that "
        f"is fine-tuned on it in params/tasks/{info.name}.yaml"
    )
    refused = f"{teacher}: the teacher is not fine-tuned for {info.name}, got"
    if not seen.has_head:
        return [wrong(f"{refused} a checkpoint without a classifier's weights; {cure}")]
    shown = f"{info.metrics[0]} {seen.scores[info.metrics[0]]:.3f}"
    found = [right(f"teacher's dev {shown} ({seen.num_rows:,} rows)")]
    agreement = kappa(np.array(seen.table)) if seen.table else seen.correlation
    if info.kind == "span" and agreement < HARDLY:
        return [wrong(f"{refused} answers with F1 {agreement:.2f} where there is one; {cure}")]
    if seen.untrained_head and agreement < AGREES_ANYWAY:
        return [wrong(f"{refused} dev {shown} and a head whose bias is 0 as it was made; {cure}")]
    if seen.num_rows < FEWEST_ROWS:
        few = f"only {seen.num_rows} dev rows: too few to see whether the teacher is fine-tuned"
        return [*found, doubt(few)]
    judged = _judge_classes if seen.table else _judge_scores
    refused = f"{refused} dev {shown}"
    problem = None if info.kind == "span" else judged(seen, info, teacher, refused, cure)
    if problem:
        return [problem]
    if agreement < HARDLY:
        found.append(
            doubt(f"the teacher is hardly better than chance, dev {shown}: little to learn")
        )
    return found


def _judge_classes(
    seen: Seen, info: TaskInfo, teacher: Path, refused: str, cure: str
) -> Finding | None:
    table = np.array(seen.table)
    order, accuracy = better_order(table), np.trace(table) / table.sum()
    if order is not None:
        moved = [number for number, output in enumerate(order) if number != output][:6]
        outputs = ", ".join(info.labels[order[number]] for number in moved)
        labels = ", ".join(info.labels[number] for number in moved)
        right_one = (np.trace(table[:, order])) / table.sum()
        return wrong(
            f"{teacher}: the teacher's label order is not the task's, got outputs [{outputs}] that "
            f"behave like [{labels}] (dev accuracy {accuracy:.2f}; so "
            f"exchanged it would be {right_one:.2f}); correct id2label in {teacher}/config.json, "
            f"or labels and label_words in params/tasks/{info.name}.yaml"
        )
    if agreement_z(table) >= BETTER_THAN_CHANCE:
        return None
    most = table.sum(axis=1).max() / table.sum()
    named = (table.sum(axis=0) > 0).sum()
    only = ", naming one label only" if named == 1 else ""
    return wrong(
        f"{refused} over {seen.num_rows:,} rows (accuracy {accuracy:.2f}{only}; always naming the "
        f"most frequent label gives {most:.2f}); {cure}"
    )


def _judge_scores(
    seen: Seen, info: TaskInfo, teacher: Path, refused: str, cure: str
) -> Finding | None:
    # Of independent values Spearman's correlation has deviation 1 / sqrt(n - 1).
    z = seen.correlation * np.sqrt(seen.num_rows - 1)
    if z < -REVERSED:
        return wrong(
            f"{teacher}: the teacher's scores are reversed, got a rank correlation of "
            f"{seen.correlation:.2f} with dev's; turn the sign of its last layer, or of the labels "
            f"that params/tasks/{info.name}.yaml names"
        )
    if z >= BETTER_THAN_CHANCE:
        return None
    return wrong(f"{refused} over {seen.num_rows:,} rows, no better than scores at random; {cure}")
