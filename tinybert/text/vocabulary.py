"""A tokenizer with fewer pieces: those that a task and a corpus use most.

Which pieces are kept is an order in which those that others are made of come first, so that more
pieces are always those of fewer, and further ones. Their numbers are compact, in the old order.
"""

import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinybert.runtime.errors import InputError
from tinybert.text.alignment import same_tokenizer
from tinybert.text.encoded import CORPUS_COMMAND, read_array

# Of a piece's share of all pieces: what the corpus counts where the task counts 1. Of five values
# (and of the task's pieces first, or the corpus's alone) this one cut dev texts of MRPC and SST-2
# into fewest pieces: reports/results/vocabulary.md.
CORPUS_WEIGHT = 1 / 3
TEXTS_AT_ONCE = 10_000  # bounds the memory that the tokenizer's own objects take
MODELS = ("WordPiece", "BPE", "Unigram")
BYTE = re.compile("<0x[0-9A-F]{2}>")

Counts = NDArray[np.float64]


def trimmed_tokenizer(tokenizer: Any, counts: Counts, max_pieces: int) -> Any:
    """Return a tokenizer of the `max_pieces` pieces that are used most; else as it was.

    Special tokens, single characters and bytes stay, so what could be written still can be.

    Args:
        tokenizer: A fast one.
        counts: How often each piece is used, by its number; shape (numbers,).
        max_pieces: How many to keep.

    Raises:
        InputError: So many pieces cannot write every text, or it is another kind of tokenizer.
    """
    names = _names(tokenizer)
    if max_pieces >= len(names):
        print(f"vocabulary: all {len(names):,} pieces are kept, {max_pieces:,} were allowed")
        return tokenizer
    needed, order = _needed_and_order(tokenizer, names, counts)
    _require_enough(max_pieces, needed)
    return _with_pieces(tokenizer, sorted(order[:max_pieces]))


def require_enough(tokenizer: Any, max_pieces: int) -> None:
    """Check that so many pieces can write what all can, whatever is used most.

    Raises:
        InputError: They cannot, or it is a tokenizer that cannot be trimmed.
    """
    names = _names(tokenizer)
    if max_pieces < len(names):
        uses = np.zeros(max(names) + 1)
        _require_enough(max_pieces, _needed_and_order(tokenizer, names, uses)[0])


def _require_enough(max_pieces: int, needed: int) -> None:
    if max_pieces < needed:
        raise InputError(
            f"vocabulary.max_pieces: special pieces and single characters are {needed:,}, got "
            f"{max_pieces:,}; write {needed:,} or more, since other text could not be written"
        )


def piece_counts(tokenizer: Any, texts: Iterable[Sequence[str]], corpus: Counts) -> Counts:
    """Return how much each piece is used by a task, and by a corpus beside it.

    Args:
        tokenizer: A fast one.
        texts: The task's, of each segment.
        corpus: How often the corpus has each piece, by its number; shape (numbers,).

    Returns:
        Shares of all pieces, those of the corpus times `CORPUS_WEIGHT`; shape (numbers,).
    """
    task = count_pieces(tokenizer, texts)
    shares: Counts = task / max(1.0, task.sum()) + CORPUS_WEIGHT * corpus / max(1.0, corpus.sum())
    return shares


def count_pieces(tokenizer: Any, texts: Iterable[Sequence[str]]) -> Counts:
    """Count the pieces of texts, without special ones, by their numbers; shape (numbers,)."""
    counts = np.zeros(max(tokenizer.get_vocab().values()) + 1)
    for segment in texts:
        for start in range(0, len(segment), TEXTS_AT_ONCE):
            part = list(segment[start : start + TEXTS_AT_ONCE])
            rows = tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]
            ids = np.fromiter((number for row in rows for number in row), dtype=np.int64)
            counts += np.bincount(ids, minlength=len(counts))
    return counts


def count_corpus(tokenizer: Any, folder: Path, cut_by: Any) -> Counts:
    """Count the pieces of the corpus, by their numbers; shape (numbers,).

    Args:
        tokenizer: Whose pieces.
        folder: Of `prepare_corpus`.
        cut_by: The tokenizer that its blocks were cut by; of another one the text is read.
    """
    if same_tokenizer(cut_by, tokenizer):
        blocks = read_array(folder / "blocks.npy", CORPUS_COMMAND, mapped=True)
        size = max(tokenizer.get_vocab().values()) + 1
        counts: Counts = np.bincount(blocks.ravel(), minlength=size).astype(np.float64)
        return counts
    with (folder / "text.txt").open(encoding="utf-8") as lines:
        return count_pieces(tokenizer, _batches(lines))


def _batches(lines: Iterable[str]) -> Iterable[list[str]]:
    held: list[str] = []
    for line in lines:
        held.append(line)
        if len(held) == TEXTS_AT_ONCE:
            yield held
            held = []
    yield held


def _names(tokenizer: Any) -> dict[int, str]:
    return {number: piece for piece, number in tokenizer.get_vocab().items()}


def _needed_and_order(
    tokenizer: Any, names: Mapping[int, str], counts: Counts
) -> tuple[int, list[int]]:
    """Return how many pieces must stay, and all numbers, each behind those it is made of."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["model"]["type"] not in MODELS:
        raise InputError(
            f"vocabulary.max_pieces: a tokenizer of {', '.join(MODELS)} can be trimmed, got "
            f"{state['model']['type']}; write `vocabulary: teacher`"
        )
    numbers = {piece: number for number, piece in names.items()}
    parts = _parts(state["model"])
    needed = {each["content"] for each in state["added_tokens"]} | set(tokenizer.all_special_tokens)
    needed |= {_unknown(state["model"])} & numbers.keys() | numbers.keys() - parts.keys()
    order: dict[str, None] = {}
    for piece in sorted(needed, key=lambda piece: numbers[piece]):
        _append(piece, parts, order)
    num_needed = len(order)
    for number in sorted(names, key=lambda number: (-counts[number], number)):
        _append(names[number], parts, order)
    return num_needed, [numbers[piece] for piece in order]


def _unknown(model: Mapping[str, Any]) -> Any:
    """Return the piece that stands for what cannot be written, or None."""
    if model["type"] == "Unigram":
        return None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
    return model["unk_token"]


def _parts(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what each piece is made of, where it could be cut: its characters, or merged pieces.

    A piece with a character that is no piece by itself is not among them.
    """
    if model["type"] == "BPE":
        return _merged(model)
    prefix = model.get("continuing_subword_prefix", "")
    pieces = model["vocab"] if model["type"] == "WordPiece" else dict(model["vocab"])
    parts = {}
    for piece in pieces:
        inside = bool(prefix) and piece.startswith(prefix) and piece != prefix
        text = piece[len(prefix) :] if inside else piece
        found = [(prefix if number or inside else "") + each for number, each in enumerate(text)]
        is_byte = bool(model.get("byte_fallback")) and BYTE.fullmatch(piece)
        if len(found) > 1 and not is_byte and all(each in pieces for each in found):
            parts[piece] = found
    return parts


def _merged(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what each piece is merged from, by whatever merges make it."""
    parts: dict[str, list[str]] = {}
    for left, right in _merges(model):
        parts.setdefault(_merge(left, right, model), []).extend([left, right])
    return parts


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a model's merges, which older files have as texts."""
    split = (each.split(" ") if isinstance(each, str) else each for each in model["merges"])
    return [(left, right) for left, right in split]


def _merge(left: str, right: str, model: Mapping[str, Any]) -> str:
    return left + right.removeprefix(model.get("continuing_subword_prefix") or "")


def _append(piece: str, parts: Mapping[str, list[str]], order: dict[str, None]) -> None:
    """Put a piece behind those it is made of, if it is not there yet."""
    waiting = [piece]
    while waiting:
        missing = [part for part in parts.get(waiting[-1], ()) if part not in order]
        if missing:
            waiting += missing
        else:
            order[waiting.pop()] = None


def _with_pieces(tokenizer: Any, kept: Sequence[int]) -> Any:
    """Return a tokenizer of some pieces, numbered from 0 in their order."""
    from transformers import AutoTokenizer

    names, numbers = _names(tokenizer), {old: new for new, old in enumerate(kept)}
    wanted = {names[old]: new for old, new in numbers.items()}
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state |= {"truncation": None, "padding": None}
    for token in state["added_tokens"]:
        token["id"] = wanted[token["content"]]
    _cut_model(state["model"], wanted)
    _renumber(state["post_processor"], numbers)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        text = json.dumps(state, ensure_ascii=False)
        (Path(folder) / "tokenizer.json").write_text(text, encoding="utf-8")
        made = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if made.get_vocab() != wanted:  # a class that numbers its special pieces by itself
        raise InputError(
            f"vocabulary.max_pieces: {type(tokenizer).__name__} cannot be trimmed, got other "
            "numbers from its files than were written; write `vocabulary: teacher`"
        )
    return made


def _cut_model(model: dict[str, Any], wanted: Mapping[str, int]) -> None:
    """Take the pieces out of a model, in place, that are not wanted."""
    if model["type"] == "Unigram":
        unknown = _unknown(model)
        model["vocab"] = [each for each in model["vocab"] if each[0] in wanted]
        model["unk_id"] = None if unknown is None else wanted[unknown]
        return
    model["vocab"] = {piece: wanted[piece] for piece in model["vocab"] if piece in wanted}
    if model["type"] == "BPE":
        model["merges"] = [
            [left, right]
            for left, right in _merges(model)
            if {left, right, _merge(left, right, model)} <= wanted.keys()
        ]


def _renumber(processor: dict[str, Any] | None, numbers: Mapping[int, int]) -> None:
    """Give a post-processor's pieces their new numbers, in place."""
    processor = {} if processor is None else processor
    for each in processor.get("processors", []):
        _renumber(each, numbers)
    for special in processor.get("special_tokens", {}).values():
        special["ids"] = [numbers[old] for old in special["ids"]]
    for name in {"cls", "sep"} & processor.keys():  # BERT's and RoBERTa's own
        piece, old = processor[name]
        processor[name] = [piece, numbers[old]]
