"""The general corpus: documents in, blocks of token ids out, memory flat in the corpus size."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinybert.errors import InputError

Document = Sequence[str]  # its paragraphs
NUM_SPECIAL = 3  # [CLS] first [SEP] second [SEP]


def read_text_files(folder: Path) -> Iterator[Document]:
    """Read every .txt file of a folder, or one file: a paragraph a line, a blank line a document.

    Raises:
        InputError: There is none, one is empty, or a line is no UTF-8.
    """
    files = [folder] if folder.is_file() else sorted(folder.glob("*.txt"))
    if not files:
        raise InputError(
            f"{folder}: no .txt files, got {'an empty folder' if folder.is_dir() else 'nothing'}; "
            "put UTF-8 text there (a paragraph a line, a blank line between documents), set "
            "sources.corpus, or run `make glue CORPUS=...`"
        )
    for file in files:
        found = False
        for document in _documents_of(file):
            found = True
            yield document
        if not found:
            raise InputError(f"{file}: holds no text, got an empty file; remove it or fill it")


def _documents_of(file: Path) -> Iterator[Document]:
    paragraphs: list[str] = []
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{file}:{number}: not valid UTF-8, got byte 0x{raw[error.start]:02x} at "
                    f"column {error.start + 1}; convert the file to UTF-8"
                ) from error
            if line:
                paragraphs.append(line)
            elif paragraphs:
                yield paragraphs
                paragraphs = []
    if paragraphs:
        yield paragraphs


def read_hub(path: str, name: str | None, split: str, column: str) -> Iterator[Document]:
    """Stream a data set of the hub, or a local folder in its layout; one document a row.

    Raises:
        InputError: It cannot be had, or has no such column.
    """
    from datasets import load_dataset

    try:
        rows = load_dataset(path, name, split=split, streaming=True)
        for row in rows:
            if column not in row:
                known = ", ".join(row)
                raise InputError(
                    f"hub data set {path!r}: no column {column!r}, got {known}; set "
                    "prepare_corpus.hub.column"
                )
            document = [line.strip() for line in row[column].splitlines() if line.strip()]
            if document:
                yield document
    except InputError:
        raise
    except Exception as error:  # a dozen kinds, from a wrong name to a closed network
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"hub data set {path!r}: cannot be had, got {reason}; check the name and the network, "
            "or set prepare_corpus.source to files"
        ) from error


def limit_words(documents: Iterable[Document], max_words: int | None) -> Iterator[Document]:
    """Take whole documents until there are `max_words` words; None takes all."""
    num_words = 0
    for document in documents:
        yield document
        num_words += sum(len(paragraph.split()) for paragraph in document)
        if max_words is not None and num_words >= max_words:
            return


def write_corpus(
    documents: Iterable[Document], tokenizer: Any, block_length: int, seed: int, folder: Path
) -> dict[str, int]:
    """Write the text, and its tokens as blocks.

    A block is `[CLS] first [SEP] second [SEP]`, so that both segments are seen before task
    distillation, or for half the blocks of one document `[CLS] text [SEP]`. Blocks run through
    document borders: there the border parts the segments. All blocks are full.

    Args:
        documents: Paragraphs of each document.
        tokenizer: The teacher's.
        block_length: Tokens per block, special ones included.
        seed: Of the choice between one and two segments.
        folder: Where `text.txt`, `blocks.npy`, `first_lengths.npy`, `corpus.json` and the
            tokenizer are written; must exist.

    Returns:
        num_documents, num_words, num_tokens, num_blocks, num_tokens_left: the last tokens that
        fill no block.
    """
    counts = {"num_documents": 0, "num_words": 0, "num_tokens": 0}
    raw, borders = folder / "tokens.raw", [0]
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
    remaining = iter(documents)
    with (folder / "text.txt").open("w", encoding="utf-8") as text, raw.open("wb") as tokens:
        while batch := list(islice(remaining, 256)):
            for document in batch:
                text.write("\n".join(document) + "\n\n")
                counts["num_words"] += sum(len(paragraph.split()) for paragraph in document)
            counts["num_documents"] += len(batch)
            for ids in _token_ids(batch, tokenizer):
                tokens.write(ids.astype(dtype).tobytes())
                borders.append(borders[-1] + len(ids))
    counts["num_tokens"] = borders[-1]
    body = block_length - NUM_SPECIAL
    counts["num_blocks"], counts["num_tokens_left"] = divmod(borders[-1], body)
    if not counts["num_blocks"]:
        raise InputError(
            f"corpus: too little text, got {borders[-1]} tokens; one block takes {body}"
        )
    _write_blocks(raw, dtype, np.array(borders), tokenizer, block_length, seed, folder)
    raw.unlink()
    tokenizer.save_pretrained(folder)
    (folder / "corpus.json").write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    return counts


def _token_ids(documents: list[Document], tokenizer: Any) -> Iterator[NDArray[np.int32]]:
    """Return each document's tokens, without special ones."""
    paragraphs = [paragraph for document in documents for paragraph in document]
    backend = tokenizer.backend_tokenizer
    # A checkpoint's tokenizer.json may say to pad and cut every text, which would spoil the corpus.
    backend.no_padding()
    backend.no_truncation()
    encodings = iter(backend.encode_batch(paragraphs, add_special_tokens=False))
    for document in documents:
        parts = [encoding.ids for encoding in islice(encodings, len(document))]
        yield np.fromiter((token for part in parts for token in part), dtype=np.int32)


def _write_blocks(
    raw: Path,
    dtype: Any,
    borders: NDArray[np.int64],
    tokenizer: Any,
    block_length: int,
    seed: int,
    folder: Path,
) -> None:
    body = block_length - NUM_SPECIAL
    tokens = np.memmap(raw, dtype=dtype, mode="r")
    num_blocks = len(tokens) // body
    blocks = np.lib.format.open_memmap(
        folder / "blocks.npy", mode="w+", dtype=dtype, shape=(num_blocks, block_length)
    )
    first_lengths = np.empty(num_blocks, dtype=np.int32)
    full_stop = tokenizer.convert_tokens_to_ids(".")
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    rng = np.random.default_rng(seed)
    for number in range(num_blocks):
        start = number * body
        part = tokens[start : start + body]
        border = borders[np.searchsorted(borders, start, side="right")]
        cut = border - start if border < start + body else 0
        if not cut and rng.random() < 0.5:
            cut = _middle_sentence_end(part, full_stop)
        if cut:
            blocks[number] = np.concatenate([[cls], part[:cut], [sep], part[cut:], [sep]])
            first_lengths[number] = cut + 2
        else:
            # One special token less: the block takes one token more, its successor sees it again.
            longer = tokens[start : start + body + 1]
            if len(longer) == body:
                longer = np.append(longer, sep)
            blocks[number] = np.concatenate([[cls], longer, [sep]])
            first_lengths[number] = block_length
    blocks.flush()
    np.save(folder / "first_lengths.npy", first_lengths)


def _middle_sentence_end(part: NDArray[Any], full_stop: int) -> int:
    """Return the place after the full stop nearest the middle, or 0 if there is none inside."""
    ends = np.flatnonzero(part[:-1] == full_stop) + 1
    if not len(ends):
        return 0
    return int(ends[np.abs(ends - len(part) // 2).argmin()])
