"""The general corpus: documents in, blocks of token ids out, memory flat in the corpus size."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import write_json
from tinybert.text.blocks import NUM_SPECIAL, write_blocks
from tinybert.text.shards import SHARD_CHARACTERS, Document, store_shards
from tinybert.text.word_tokens import count_words, parts_at_punctuation

# Of all word pieces. English Wikipedia in BERT's vocabulary has 0.00002, Thai text 0.4, Chinese 0.6
# (measured); where half is unknown, teacher and student would agree on noise.
MOST_UNKNOWN = 0.5


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
            if not isinstance(row[column] or "", str):
                raise InputError(
                    f"hub data set {path!r}: column {column!r} must hold text, got "
                    f"{type(row[column]).__name__}; set prepare_corpus.hub.column"
                )
            document = [line.strip() for line in (row[column] or "").splitlines() if line.strip()]
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
    if max_words is None:
        yield from documents
        return
    num_words = 0
    for document in documents:
        yield document
        num_words += count_words(document)
        if num_words >= max_words:
            return


def write_corpus(
    documents: Iterable[Document],
    tokenizer: Any,
    block_length: int,
    seed: int,
    folder: Path,
    shards: Path,
    shard_characters: int = SHARD_CHARACTERS,
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
        shards: Where tokens stand meanwhile. Shards found there are not tokenised again; all
            must be of this tokenizer.
        shard_characters: Least text of a shard; changes no output.

    Returns:
        num_documents, num_words, num_tokens, num_unknown of them, num_blocks, and
        num_tokens_left: the last tokens that fill no block.

    Raises:
        InputError: The text fills no block, or most of it is unknown to the tokenizer.
    """
    backend = tokenizer.backend_tokenizer
    # A checkpoint's tokenizer.json may say to pad and cut every text, which would spoil the corpus.
    backend.no_padding()
    backend.no_truncation()
    if not parts_at_punctuation(json.loads(backend.to_str())):
        print(
            f"corpus: {type(tokenizer).__name__} cuts text otherwise than BERT's tokenizers, so it "
            "is asked for every paragraph: the same pieces, but more slowly",
            flush=True,
        )
    with (folder / "text.txt").open("wb") as text:
        stored = store_shards(documents, tokenizer, text, shards, shard_characters)
    body = block_length - NUM_SPECIAL
    num_blocks, num_left = divmod(stored.num_tokens, body)
    if not num_blocks:
        raise InputError(
            f"corpus: too little text, got {stored.num_tokens} tokens; one block takes {body}, add "
            "text or lower prepare_corpus.block_length"
        )
    num_unknown = sum(int((ids == tokenizer.unk_token_id).sum()) for ids, _ in stored.parts())
    if num_unknown > MOST_UNKNOWN * stored.num_tokens:
        raise InputError(
            f"corpus: not in the teacher's language, got {num_unknown:,} of {stored.num_tokens:,} "
            f"word pieces as {tokenizer.unk_token}; take a teacher whose vocabulary knows this "
            "text (teacher.source), or text in its language"
        )
    write_blocks(stored.parts(), num_blocks, tokenizer, block_length, seed, folder)
    tokenizer.save_pretrained(folder)
    counts = {
        "num_documents": stored.num_documents,
        "num_words": stored.num_words,
        "num_tokens": stored.num_tokens,
        "num_unknown": num_unknown,
        "num_blocks": num_blocks,
        "num_tokens_left": num_left,
    }
    write_json(counts, folder / "corpus.json")
    return counts
