"""A student without a gradient step: its encoder and head fitted to a teacher on some texts.

From Python, with a teacher and its tokenizer loaded as usual:

    config = BertConfig(num_hidden_layers=3, hidden_size=192, intermediate_size=768)
    student, fitted = fitted_student(teacher, tokenizer, config, texts)
    print(fitted.as_text())
    student.save_pretrained("student")
    tokenizer.save_pretrained("student")
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModel,
    BertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from tinybert.closed_form.fit import EncoderFit, Unexplained
from tinybert.closed_form.head import HeadTargets, fit_head, has_head, head_targets
from tinybert.closed_form.parts import layers_of
from tinybert.distillation.projections import Projections
from tinybert.encoders.checkpoints import head_class, require_vocabulary
from tinybert.encoders.positions import positions
from tinybert.encoders.weights import not_finite
from tinybert.runtime.errors import InputError
from tinybert.settings.choices import CLOSED_FORM_TOKENS
from tinybert.settings.heads import kind_of_head
from tinybert.settings.layer_map import LayerMap, teacher_layers
from tinybert.text.encoded import EncodedRows, Rows, encode, rows_numbered

HEAD_TIMES = 3  # so many times the tokens for the head, which sees one state of each row


@dataclass(frozen=True)
class Fitted:
    """What a fit says of itself.

    Attributes:
        maps: The unexplained share of each map.
        layers: [g(1), ..., g(M)].
        num_rows: Texts it was fitted on.
        num_tokens: Their real tokens.
        seconds: Of wall time.
        head: What the head was fitted to, by which `fit_head` fits it again; None without one.
    """

    maps: list[Unexplained]
    layers: list[int]
    num_rows: int
    num_tokens: int
    seconds: float
    head: HeadTargets | None = None

    def table(self) -> pd.DataFrame:
        """Return the unexplained shares, a row per map and a column per layer of the student."""
        frame = pd.DataFrame(self.maps)
        order = list(dict.fromkeys(frame["map"]))
        return frame.pivot(index="map", columns="layer", values="unexplained").loc[order]

    def as_text(self) -> str:
        """Return the table as it is printed, below a line that says what it is."""
        shares = self.table().to_string(float_format="{:.3f}".format, na_rep="")
        return f"unexplained share of each map, by the student's layer\n{shares}"

    def report(self, start: str, score: dict[str, float]) -> dict[str, Any]:
        """Return what `starts.Start` reads."""
        return {
            "start": start,
            "score": score,
            "maps": [of._asdict() for of in self.maps],
            "layers": self.layers,
            "num_rows": self.num_rows,
            "num_tokens": self.num_tokens,
            "seconds": round(self.seconds, 1),
        }


def fitted_student(
    teacher: PreTrainedModel,
    tokenizer: Any,
    config: BertConfig | ElectraConfig,
    texts: Sequence[str] | Sequence[tuple[str, str]],
    layer_map: LayerMap = "uniform",
    seed: int = 42,
    max_tokens: int = CLOSED_FORM_TOKENS,
) -> tuple[PreTrainedModel, Fitted]:
    """Make a student of a shape, fitted to its teacher; vocabulary and labels are the teacher's.

    Args:
        teacher: BERT-like, of any precision; where it has a task's head, the student has one too.
        tokenizer: The teacher's.
        config: The student's sizes; what else a student shares with its teacher is replaced.
        texts: Texts, or pairs of texts, of the kind that it will read.
        layer_map: g: which teacher's layer each of the student's is fitted to.
        seed: Of the choice of texts and of the random rotations.
        max_tokens: How many tokens the layers are fitted on at most.

    Returns:
        The student, in eval mode and float32, and what the fit says of itself.

    Raises:
        InputError: The two do not fit, the tokenizer is another model's, or there are too few
            texts, or texts beside pairs.
    """
    theirs: Any = teacher.config
    first, second = _texts(texts)
    require_fits(config, teacher)
    if wrong := not_finite(teacher):
        raise InputError(f"closed form: teacher: {wrong}")
    require_vocabulary(tokenizer, theirs, "closed form: tokenizer")
    if teacher.dtype != torch.float32:
        teacher = copy.deepcopy(teacher).float()
    changes = {"vocab_size": theirs.vocab_size, "pad_token_id": theirs.pad_token_id or 0}
    changes |= {"type_vocab_size": 2, "is_decoder": False}
    auto: Any = AutoModel
    if has_head(teacher):
        auto = head_class(kind_of_head([type(teacher).__name__]))
        changes |= {"id2label": theirs.id2label, "label2id": theirs.label2id}
        changes |= {"problem_type": theirs.problem_type}
    longest = min(filter(None, (positions(config), positions(theirs))))
    changes["max_position_embeddings"] = longest
    rows = encode(tokenizer, first, second, longest)
    torch.manual_seed(seed)
    student = auto.from_config(type(config)(**{**config.to_dict(), **changes})).float().eval()
    layers = teacher_layers(layer_map, config.num_hidden_layers, theirs.num_hidden_layers)
    return student, fit_student(student, teacher, rows, layers, seed, max_tokens=max_tokens)


def _texts(texts: Sequence[Any]) -> tuple[list[str], list[str] | None]:
    """Return the first and the second texts of all rows; None for these where rows are no pairs.

    Raises:
        InputError: They are neither all texts nor all pairs.
    """
    if isinstance(texts, str):
        raise InputError("closed form: texts: must be a list, got one text; write [text]")
    kinds = [_kind_of_row(row) for row in texts]
    for number, kind in enumerate(kinds):
        if kind != kinds[0] or kind not in ("text", "pair"):
            raise InputError(
                f"closed form: texts[{number}]: must be a text or a pair of texts, and all rows "
                f"alike, got {kind} where texts[0] is {kinds[0]}; take it out, or write (first, "
                "second) in every row"
            )
    if "pair" not in kinds:
        return list(texts), None
    return [first for first, _ in texts], [second for _, second in texts]


def _kind_of_row(row: Any) -> str:
    if isinstance(row, str):
        return "text"
    pair = isinstance(row, (tuple, list)) and len(row) == 2 and all(isinstance(t, str) for t in row)
    return "pair" if pair else type(row).__name__


def fit_student(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    rows: Rows,
    layers: Sequence[int],
    seed: int,
    projections: Projections | None = None,
    max_tokens: int = CLOSED_FORM_TOKENS,
    head: HeadTargets | None = None,
) -> Fitted:
    """Fit a student, in place, to its teacher; with a task's head if it has one.

    Args:
        student: A BERT or ELECTRA encoder, with the teacher's head or without.
        teacher: BERT-like, on the device to compute on; with a task's head if the student has one.
        rows: Texts; a seeded choice of them is used.
        layers: [g(1), ..., g(M)].
        seed: Of the choice and of the random rotations.
        projections: W_e and W_h, fitted too where they are given.
        max_tokens: How many tokens the layers are fitted on at most, but for the last row.
        head: What a head is fitted to, where it is known already.

    Raises:
        InputError: One of the two cannot be fitted, or there are too few tokens.
    """
    began = time.monotonic()
    require_fits(student.config, teacher)
    chosen = choose_rows(rows, max_tokens, seed)
    num_tokens = int(chosen.lengths.sum())
    require_tokens(num_tokens, student.config.intermediate_size, max_tokens)
    training = student.training, teacher.training
    device = student.device
    student.eval().to(teacher.device)
    teacher.eval()
    if projections is not None:
        projections.to(teacher.device)
    try:
        fit = EncoderFit(student, teacher, chosen, layers, seed, projections)
        maps = fit.run()
        if has_head(student):
            head = head or choose_head_targets(teacher, rows, seed, max_tokens)
            maps = [*maps, *fit_head(student, head, seed)]
    finally:
        student.train(training[0]).to(device)
        teacher.train(training[1])
        if projections is not None:
            projections.to(device)
    seconds = time.monotonic() - began
    return Fitted(maps, list(layers), len(chosen), fit.targets.num_tokens, seconds, head)


def choose_head_targets(
    teacher: PreTrainedModel, rows: Rows, seed: int, max_tokens: int = CLOSED_FORM_TOKENS
) -> HeadTargets:
    """Run the teacher over what a head is fitted to; arguments as for `fit_student`."""
    return head_targets(teacher, rows_numbered(rows, head_numbers(rows, seed, max_tokens)))


def head_numbers(rows: Rows, seed: int, max_tokens: int = CLOSED_FORM_TOKENS) -> NDArray[np.int64]:
    """Return the numbers of the rows that a head is fitted to; arguments as for `fit_student`."""
    return _chosen(rows, HEAD_TIMES * max_tokens, seed)


def head_in_tokens(
    head: HeadTargets, theirs: Rows, ours: Rows, seed: int, max_tokens: int = CLOSED_FORM_TOKENS
) -> HeadTargets:
    """Return what a head is fitted to, with its texts in another tokenizer's tokens.

    Args:
        head: Of `choose_head_targets`, a value a row.
        theirs: The rows it was chosen from.
        ours: The same rows in other tokens.
        seed: As for `choose_head_targets`.
        max_tokens: Likewise.
    """
    return head.of(rows_numbered(ours, head_numbers(theirs, seed, max_tokens)))


def require_tokens(found: int, num_neurons: int, max_tokens: int = CLOSED_FORM_TOKENS) -> None:
    """Check that there are more tokens than columns of the widest map.

    Args:
        found: The tokens that a student is fitted on.
        num_neurons: Of its feed-forward networks.
        max_tokens: Where the choice of tokens stopped.

    Raises:
        InputError: There are not.
    """
    if found <= num_neurons:
        more = "give more texts" if found < max_tokens else "raise closed_form_tokens (max_tokens)"
        raise InputError(
            f"closed form: more tokens than columns are needed, got {found:,} for {num_neurons:,} "
            f"feed-forward neurons; {more}, or a smaller shape.intermediate_size"
        )


def require_fits(student: PreTrainedConfig, teacher: PreTrainedModel) -> None:
    """Check that a student can be fitted to a teacher: nothing of it is larger.

    Raises:
        InputError: It cannot.
    """
    parts, theirs = layers_of(teacher), teacher.config
    ours: Any = student
    if ours.model_type not in ("bert", "electra"):
        raise InputError(
            "closed form: the student's architecture must be bert or electra, got "
            f"{ours.model_type}; write shape.architecture: bert"
        )
    if ours.hidden_size % ours.num_attention_heads:
        raise InputError(
            "closed form: shape: hidden_size must be a multiple of num_attention_heads, got "
            f"{ours.hidden_size} and {ours.num_attention_heads}"
        )
    head_widths = [c.hidden_size // c.num_attention_heads for c in (ours, theirs)]
    sizes = {
        "embedding_size": (getattr(ours, "embedding_size", 0), theirs.hidden_size),
        "hidden_size": (ours.hidden_size, theirs.hidden_size),
        "num_attention_heads": (ours.num_attention_heads, theirs.num_attention_heads),
        "intermediate_size": (ours.intermediate_size, len(parts[0].feedforward_in.weight)),
        "hidden_size / num_attention_heads": (head_widths[0], head_widths[1]),
    }
    problems = [
        f"closed form: shape: {name} must be at most the teacher's {most}, got {found}; make it "
        "smaller, or write start: general and initialisation: random"
        for name, (found, most) in sizes.items()
        if found > most
    ]
    if problems:
        raise InputError(*problems)


def choose_rows(rows: Rows, max_tokens: int, seed: int) -> EncodedRows:
    """Choose rows at random until they have so many tokens; in their own order.

    Args:
        rows: All.
        max_tokens: Where to stop; the row that reaches it is taken too.
        seed: Of the choice; a larger number keeps those of a smaller one.
    """
    return rows_numbered(rows, _chosen(rows, max_tokens, seed))


def _chosen(rows: Rows, max_tokens: int, seed: int) -> NDArray[np.int64]:
    """Return the numbers of the rows that `choose_rows` takes, ascending."""
    order = np.random.default_rng(seed).permutation(len(rows))
    reached = np.cumsum(rows.lengths[order])
    return np.sort(order[: int(np.searchsorted(reached, max_tokens)) + 1])
