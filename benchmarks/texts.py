"""Rows to measure on: real GLUE and text where they are given, embedded ones otherwise."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from benchmarks.options import Options
from tinybert.encoders.checkpoints import load_tokenizer, packaged
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import read_task
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.glue import listing, spelling
from tinybert.tasks.rows import prepare
from tinybert.tasks.sources import Sources, read_splits
from tinybert.tasks.task import TRAIN, Encoding
from tinybert.tasks.task_file import TaskFile
from tinybert.text.encoded import EncodedRows
from tinybert.text.files import read_text_files
from tinybert.text.shards import Document

EMBEDDED = {"mrpc": "doc_similarity", "cola": "doc_acceptability", "sst2": "doc_subject"}
EMBEDDED["rte"] = "doc_summary"


def tokenizer() -> PreTrainedTokenizerBase:
    """Return BERT's uncased tokenizer, which the packaged teacher has."""
    return load_tokenizer(packaged())


def task_of(options: Options, glue_task: str) -> tuple[str, TaskFile, pd.DataFrame]:
    """Return a task's name, file and training set; without GLUE an embedded one of its kind."""
    name = glue_task if options.glue is not None else EMBEDDED[glue_task]
    task = read_task(name, TaskFile)
    folder = options.glue or Path()
    tables = read_splits(task, Sources(folder=folder, glue="folder", glue_hub=""), 42)
    return name, task, prepare(name, task, tables, 42, None).splits[TRAIN]


def known_tasks(options: Options, glue_tasks: Sequence[str]) -> list[str]:
    """Return those tasks whose files are there; without GLUE all, since embedded ones stand in.

    Raises:
        InputError: None is there.
    """
    if options.glue is None:
        return list(glue_tasks)
    there = {spelling(folder.name) for folder in options.glue.iterdir()}
    if found := [task for task in glue_tasks if task in there]:
        return found
    raise InputError(
        f"--glue: none of {', '.join(glue_tasks)} is in {options.glue}, "
        f"got {listing(options.glue)}; name GLUE's folder"
    )


def task_rows(options: Options, glue_task: str) -> tuple[str, EncodedRows]:
    """Return a task's name and its encoded training rows."""
    name, task, frame = task_of(options, glue_task)
    encoding = Encoding(task.kind, len(set(frame["label"])), task.max_length)
    return name, encode_split(frame, tokenizer(), encoding)


def documents(options: Options) -> Iterator[Document]:
    """Return the corpus's documents."""
    if options.corpus is not None:
        return read_text_files(options.corpus)
    from tinybert.text.embedded.docstrings import documents as embedded

    return (document.paragraphs for document in embedded())


def block_rows(options: Options, length: int, num_rows: int) -> EncodedRows:
    """Return rows of exactly so many tokens of running text."""
    encode = tokenizer()
    ids: list[int] = []
    body = length - 2
    paragraphs = (line for document in documents(options) for line in document)
    while len(ids) < body * num_rows:
        part = list(islice(paragraphs, 500))
        if not part and not ids:
            raise InputError(
                f"--corpus: no text to make blocks of, got {options.corpus}; name more"
            )
        if not part:
            ids *= 2
            continue
        ids += [i for row in encode(part, add_special_tokens=False)["input_ids"] for i in row]
    flat = np.array(ids[: body * num_rows], dtype=np.int32).reshape(num_rows, body)
    flat = np.pad(flat, ((0, 0), (1, 1)))
    flat[:, 0], flat[:, -1] = encode.cls_token_id, encode.sep_token_id
    lengths = np.full(num_rows, length)
    return EncodedRows(flat.ravel(), np.cumsum(lengths), lengths.astype(np.int32), {})


def random_logits(num_rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return logits of two classes."""
    return torch.randn(num_rows, 2, generator=torch.Generator().manual_seed(0)).numpy()
