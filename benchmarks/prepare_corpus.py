"""Corpus preparation at four sizes: text in, blocks of token ids out; and the tokenizer alone."""

import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks import texts
from benchmarks.options import Options
from benchmarks.result import Result
from tinybert.text.corpus import write_corpus
from tinybert.text.shards import Document

MEGABYTES = (8, 16, 32, 64)
BLOCK_LENGTH = 128
ALONE_PARAGRAPHS = 5000


def measure(options: Options) -> list[Result]:
    """Measure 8, 16, 32 and 64 MB, or as much as there is; memory should stay flat."""
    rate_alone = tokenizer_alone(options)
    results: list[Result] = []
    for megabytes in MEGABYTES:
        size = 0

        def limited(limit: int = megabytes) -> Iterator[Document]:
            nonlocal size
            for document in texts.documents(options):
                size += sum(len(line.encode()) + 1 for line in document) + 1
                yield document
                if size >= limit * 1_000_000:
                    return

        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as shards:
            started = time.perf_counter()
            counts = write_corpus(
                limited(), texts.tokenizer(), BLOCK_LENGTH, 0, Path(folder), Path(shards)
            )
            seconds = time.perf_counter() - started
        speed = size / 1e6 / seconds
        more = {"MB": size / 1e6, "MB/s": speed, "times the tokenizer alone": speed / rate_alone}
        results.append(
            Result(
                "prepare_corpus",
                f"{megabytes} MB",
                seconds,
                tokens=counts["num_tokens"],
                examples=counts["num_documents"],
                more=more,
            )
        )
        if size < megabytes * 1_000_000:  # there is no more
            break
    return results


def tokenizer_alone(options: Options) -> float:
    """Return the MB a second of the tokenizer's own batches, with its own threads."""
    encode = texts.tokenizer().backend_tokenizer
    lines = (line for document in texts.documents(options) for line in document)
    part = list(islice(lines, ALONE_PARAGRAPHS))
    encode.encode_batch_fast(part[:100], add_special_tokens=False)
    started = time.perf_counter()
    encode.encode_batch_fast(part, add_special_tokens=False)
    seconds = time.perf_counter() - started
    return sum(len(line.encode()) + 1 for line in part) / 1e6 / seconds
