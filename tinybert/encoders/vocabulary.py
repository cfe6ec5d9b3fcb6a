"""A student for another tokenizer: its word embeddings carried over.

Each new piece gets the mean of the embeddings of the old pieces that its text is cut into, itself
where it is one of them: fast vocabulary transfer (Gee et al. 2022, 2402.09977, section 2).
"""

import copy
import json
import unicodedata
from typing import Any, NamedTuple, cast

import torch
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import PreTrainedModel

SPECIAL = ("pad", "cls", "sep", "mask", "unk", "bos", "eos")


def with_vocabulary(
    student: PreTrainedModel, old_tokenizer: Any, new_tokenizer: Any
) -> PreTrainedModel:
    """Return a student that reads another tokenizer's pieces; itself where they are the same.

    Whatever has a row or column for each piece is carried over: the table, and a masked-word head's
    decoder and bias. Numbers of special pieces in the configuration are changed too.

    Args:
        student: With a head or without.
        old_tokenizer: Whose pieces it reads.
        new_tokenizer: Whose pieces it shall read.
    """
    if old_tokenizer.get_vocab() == new_tokenizer.get_vocab():
        return student
    means = _means(student.config.vocab_size, old_tokenizer, new_tokenizer)
    config = copy.deepcopy(student.config)
    config.vocab_size = len(means)
    for name in SPECIAL:
        key = f"{name}_token_id"
        if getattr(config, key, None) is not None:
            setattr(config, key, getattr(new_tokenizer, key))
    made = cast(PreTrainedModel, type(student)(config))
    by_piece = _dims_of_pieces(student)
    state = {
        name: _carried(value, means, by_piece[name]) if name in by_piece else value
        for name, value in student.state_dict().items()
    }
    made.load_state_dict(state)
    return made.train(student.training).to(student.device)


def _dims_of_pieces(student: PreTrainedModel) -> dict[str, int]:
    """Return the dimension along which each parameter has a value a piece.

    It is the one that a model with one piece more has one larger.
    """
    config = copy.deepcopy(student.config)
    config.vocab_size += 1
    with torch.device("meta"):
        larger = type(student)(config).state_dict()
    return {
        name: dim
        for name, value in student.state_dict().items()
        for dim, size in enumerate(value.shape)
        if larger[name].shape[dim] != size
    }


def _carried(value: Tensor, means: Tensor, dim: int) -> Tensor:
    """Return a parameter's values by new piece: means over those by old piece."""
    flat = value.movedim(dim, 0)
    found: Tensor = torch.sparse.mm(means.to(value.device), flat.reshape(len(flat), -1).float())
    return found.reshape(len(means), *flat.shape[1:]).movedim(0, dim).to(value.dtype)


def _means(num_old: int, old_tokenizer: Any, new_tokenizer: Any) -> Tensor:
    """Return the sparse matrix, shape (new, old), whose rows are means over old pieces."""
    cut, pieces = _Cut(old_tokenizer), new_tokenizer.get_vocab()
    roles = {
        getattr(new_tokenizer, f"{name}_token_id"): getattr(old_tokenizer, f"{name}_token_id")
        for name in reversed(SPECIAL)  # of two roles of one piece the first one counts
    }
    marks = _Marks.of(new_tokenizer)
    rows, columns, values = list[int](), list[int](), list[float]()
    for piece, number in pieces.items():
        role = roles.get(number)
        found = [role] if role is not None else cut.numbers(piece, marks)
        rows += [number] * len(found)
        columns += found
        values += [1 / len(found)] * len(found)
    size = (max(pieces.values()) + 1, num_old)
    return torch.sparse_coo_tensor(
        torch.tensor([rows, columns]), values, size, check_invariants=True
    ).coalesce()


class _Marks(NamedTuple):
    """How a tokenizer's pieces say where in a word they stand.

    Attributes:
        inside: Begins a piece inside of a word: WordPiece's ##.
        begin: Begins a piece at a word's begin: SentencePiece's \u2581.
        letters: Whether pieces are written in letters that stand for bytes, a space among them.
    """

    inside: str = ""
    begin: str = ""
    letters: bool = False

    @classmethod
    def of(cls, tokenizer: Any) -> "_Marks":
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        if state["model"]["type"] == "WordPiece":
            return cls(inside=state["model"]["continuing_subword_prefix"])
        if '"ByteLevel"' in json.dumps([state["pre_tokenizer"], state["normalizer"]]):
            return cls(letters=True)
        return cls(begin="\u2581")

    def read(self, piece: str) -> tuple[str, bool]:
        """Return a piece's text, and whether it begins a word."""
        if self.inside and piece.startswith(self.inside) and piece != self.inside:
            return piece[len(self.inside) :], False
        text = ByteLevelDecoder().decode([piece]) if self.letters else piece
        begin = " " if self.letters else self.begin
        return text.removeprefix(begin), text.startswith(begin)

    def write(self, text: str, begins: bool) -> str:
        """Return a text as a model reads it, at a word's begin or inside of one."""
        if not self.letters:
            return (self.begin if begins else self.inside) + text
        text = f" {text}" if begins else text
        letters = ByteLevel(add_prefix_space=False, use_regex=False)
        return "".join(part for part, _ in letters.pre_tokenize_str(text))


class _Cut:
    """Cuts pieces of another tokenizer into this one's.

    Args:
        tokenizer: A fast one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.backend = tokenizer.backend_tokenizer
        self.marks = _Marks.of(tokenizer)
        self.pieces: dict[str, int] = tokenizer.get_vocab()
        unknown = tokenizer.unk_token_id
        self.unknown: int = tokenizer.pad_token_id if unknown is None else unknown

    def numbers(self, piece: str, marks: _Marks) -> list[int]:
        """Return what a piece, of a tokenizer with such marks, is cut into; never nothing."""
        if piece in self.pieces and marks == self.marks:
            return [self.pieces[piece]]
        text, begins = marks.read(piece)
        spaced, found = self._spaced(text), list[int]()
        words = spaced.split() or ([""] if begins else [])  # a mark alone is one
        for number, word in enumerate(words):
            written = self.marks.write(word, begins or number > 0 or spaced[0].isspace())
            whole = self.pieces.get(written)  # Unigram may prefer two likelier ones
            tokens = self.backend.model.tokenize(written) if whole is None else []
            found += [token.id for token in tokens] if whole is None else [whole]
        return [number for number in found if number != self.unknown] or [self.unknown]

    def _spaced(self, text: str) -> str:
        """Return a text, normalised, with spaces around what the tokenizer makes a word of."""
        normalizer = self.backend.normalizer
        text = text if normalizer is None else normalizer.normalize_str(text)
        text = text.replace(self.marks.begin, " ") if self.marks.begin else text
        if not self.marks.inside:
            return text
        return "".join(f" {c} " if unicodedata.category(c)[0] in "PS" else c for c in text)
