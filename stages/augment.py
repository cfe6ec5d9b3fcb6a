"""Augment a task's training set: many copies of each row with words replaced.

python -m stages.augment TASK
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from stages import run
from tinybert.augmentation.masked_words import load_masked_words
from tinybert.augmentation.row_labels import labels_of
from tinybert.augmentation.sampling import Augmenter
from tinybert.augmentation.sections import AugmentSettings
from tinybert.runtime.errors import InputError
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_folder, write_json
from tinybert.runtime.precision import Precision, autocast_dtype
from tinybert.settings.reader import read_param, read_section
from tinybert.tasks.task import TRAIN, read_info, read_split
from tinybert.text.word_vectors import load_vectors

MODEL = Path("models/pretrained/masked_lm")
VECTORS = Path("data/word_vectors")
NUM_SAMPLES = 5  # rows shown in the report
COPIES_SHOWN = 3
MOST_CHARACTERS = 400  # of a text in the report; the start of a longer one is shown
# Pieces of a passage that the model is shown around a word. SQuAD's passages are of 167 on average,
# and a request for each of their 57 words takes 2.5 times as long with all of them.
PASSAGE_CONTEXT = 64
# Least share of rows that get a copy, and of replaceable words that have candidates. English tasks
# with the packaged teacher and no vectors have 0.95 and 0.84 or more; German text has 0.5 of the
# words, Russian 0.2, Thai none.
LEAST_SHARE = 0.75
# Of rows where words of entities stay: a third of CoNLL-2003's are names and numbers alone.
LEAST_OF_TAGGED = 0.5
# Least share of the words looked up that the vectors know: those of another language know a few
# names. Judged where words enough are looked up.
LEAST_KNOWN, LEAST_LOOKED_UP = 0.1, 100


def augment_task(
    settings: AugmentSettings,
    seed: int,
    dtype: torch.dtype | None,
    task_folder: Path,
    model_folder: Path,
    vectors_folder: Path,
    output: Path,
) -> dict[str, Any]:
    """Write the augmented training set of a task and return its counts.

    Writes `train.parquet`, the columns of the training set and `row` (int64, number of the
    original row), and `augmentation.json`, the counts with a few samples. Labels that are of words
    or of characters are moved with them (`row_labels`).

    Side effects: Keeps what the model has answered under `checkpoints/` until the output is in
        place, so that a killed run loses less than a shard of it.
    """
    task = read_info(task_folder)
    train = read_split(task_folder, TRAIN)
    if train.empty:
        raise InputError(f"{task_folder}: no training rows, got 0; put rows in the task's train")
    if not settings.num_copies:  # no model is needed, nor one that could replace words
        return write_without_copies(train, output)
    chosen = choose_rows(len(train), settings.max_rows, seed)
    if not chosen.all():
        print(f"{task.name}: {chosen.sum():,} of {len(train):,} rows get copies (augment.max_rows)")
    masked = load_masked_words(
        model_folder,
        num_candidates=settings.num_candidates,
        batch_tokens=settings.batch_tokens,
        dtype=dtype,
        max_context=PASSAGE_CONTEXT if task.kind == "span" else None,
    )
    augmenter = Augmenter(
        masked,
        load_vectors(vectors_folder),
        replace_probability=settings.replace_probability,
        num_copies=settings.num_copies,
        seed=seed,
        labels=labels_of(task, train, settings.entity_words),
    )
    read = {"augment": settings.model_dump(), "seed": seed, "precision": str(dtype)}
    shards = checkpoints_folder("augment", read, [task_folder, model_folder, vectors_folder])
    with replace_folder(output) as folder:
        parts = partial(augmenter.augment, train, chosen, shards)
        stored = task_folder / f"{TRAIN}.parquet"
        samples = _write_parts(folder / f"{TRAIN}.parquet", parts, len(train), stored)
        summary = summarise(augmenter.counts, augmenter.answers.num_asked)
        write_json({**summary, "samples": samples}, folder / "augmentation.json")
    shutil.rmtree(shards, ignore_errors=True)
    return summary


def write_without_copies(train: pd.DataFrame, output: Path) -> dict[str, Any]:
    """Write the training set as it is; return the counts of an augmentation that made nothing."""
    summary = summarise(Counter(rows_in=len(train), rows_out=len(train)), num_asked=0)
    with replace_folder(output) as folder:
        rows = train.assign(row=np.arange(len(train), dtype=np.int64))
        rows.to_parquet(folder / f"{TRAIN}.parquet", compression="zstd", index=False)
        write_json({**summary, "samples": []}, folder / "augmentation.json")
    return summary


def choose_rows(num_rows: int, max_rows: int | None, seed: int) -> NDArray[np.bool_]:
    """Mark the rows that get copies; a larger `max_rows` keeps those of a smaller one."""
    chosen = np.zeros(num_rows, dtype=bool)
    chosen[np.random.default_rng(seed).permutation(num_rows)[:max_rows]] = True
    return chosen


def _write_parts(
    file: Path, make_parts: Callable[..., Iterator[pd.DataFrame]], num_rows: int, original: Path
) -> list[dict[str, Any]]:
    """Write part after part, so that memory does not grow with the copies; return samples.

    Args:
        file: Where to.
        make_parts: Yields them, given where to show progress.
        num_rows: Of the training set.
        original: The file of the training set, which knows what lists hold: the first part may
            have empty ones alone.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    samples: list[dict[str, Any]] = []
    with Progress() as bar:
        asked = bar.add_task("Asking for words", total=1)
        done = bar.add_task("Augmenting rows", total=num_rows)
        parts = make_parts(progress=lambda share: bar.advance(asked, share))
        first = next(parts)
        schema = pa.Schema.from_pandas(first, preserve_index=False)
        for field in pq.read_schema(original):
            if pa.types.is_list(field.type):
                schema = schema.set(schema.get_field_index(field.name), field)
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for part in chain([first], parts):
                writer.write_table(pa.Table.from_pandas(part, schema, preserve_index=False))
                bar.advance(done, part["row"].nunique())
                samples += _samples(part, NUM_SAMPLES - len(samples))
    return samples


def _samples(part: pd.DataFrame, wanted: int) -> list[dict[str, Any]]:
    """Return the texts of the first rows that have copies, with a few of them."""
    texts = [name for name in ("sentence1", "sentence2") if name in part]
    samples: list[dict[str, Any]] = []
    for row, group in part[part.duplicated("row", keep=False)].groupby("row"):
        if len(samples) == max(0, wanted):
            break
        shown = group[texts].head(1 + COPIES_SHOWN).map(_cut)
        original, *copies = shown.to_dict("records")
        samples.append({"row": row, "original": original, "copies": copies})
    return samples


def _cut(text: str) -> str:
    rest = " \N{HORIZONTAL ELLIPSIS}" if len(text) > MOST_CHARACTERS else ""
    return text[:MOST_CHARACTERS] + rest


def summarise(counts: Counter[str], num_asked: int) -> dict[str, Any]:
    """Return what augmentation did, in numbers."""
    kinds = ("masked", "vectors", "no_vector", "kept", "entity", "answer")
    rows = ("in", "augmented", "unspaced", "without_candidates", "without_copies", "out")
    return {
        **{f"rows_{name}": counts[f"rows_{name}"] for name in rows},
        "duplicates_dropped": counts["duplicates_dropped"],
        "words": {kind: counts[f"words_{kind}"] for kind in kinds},
        "requests_asked": num_asked,
        "requests_saved": counts["words_masked"] - num_asked,
    }


def describe(summary: dict[str, Any]) -> str:
    """Say in numbers what was made of what."""
    copies, words = summary["rows_out"] - summary["rows_in"], summary["words"]
    labelled = {"entities": words["entity"], "answers": words["answer"]}
    return (
        f"{summary['rows_out']:,} rows from {summary['rows_in']:,} "
        f"({summary['rows_out'] / summary['rows_in']:.1f} times), "
        f"{copies:,} of {copies + summary['duplicates_dropped']:,} copies distinct; "
        f"of {sum(words.values()):,} words {words['masked']:,} were masked, "
        f"{words['vectors']:,} looked up, {words['kept']:,} kept (function words, numbers), "
        + "".join(f"{count:,} kept in {name}, " for name, count in labelled.items() if count)
        + f"{words['no_vector']:,} could not be replaced"
    )


def describe_unspaced(summary: dict[str, Any]) -> str:
    """Say how many rows are in scripts without spaces, which get no copies; nothing if none is."""
    rows, unspaced = summary["rows_augmented"], summary["rows_unspaced"]
    if not unspaced:
        return ""
    return (
        f"{unspaced:,} of {rows:,} rows ({unspaced / rows:.0%}) get no copies, since they are "
        "written without spaces between words (Chinese, Japanese, Thai and the like); text "
        "without labels helps there (`unlabelled:` in the task's file)"
    )


def find_doubts(summary: dict[str, Any]) -> list[str]:
    """Say in one line if augmentation changed little, and what to do."""
    rows, words = summary["rows_augmented"], summary["words"]
    changed = rows - summary["rows_without_copies"]
    rows -= summary["rows_unspaced"]  # `describe_unspaced` says what becomes of them
    found = words["masked"] + words["vectors"]
    replaceable = found + words["no_vector"]
    looked_up = replaceable - words["masked"]
    least = LEAST_OF_TAGGED if words["entity"] else LEAST_SHARE
    if changed >= least * rows and found >= LEAST_SHARE * replaceable:
        if looked_up < LEAST_LOOKED_UP or words["vectors"] >= LEAST_KNOWN * looked_up:
            return []
        return [
            f"the word vectors know few of the task's words, got {words['vectors']:,} of "
            f"{looked_up:,} looked up, the others stay; take more vectors, of the task's language "
            "(sources.word_vectors, word_vectors.max_words, word_vectors.min_count)"
        ]
    if found < LEAST_SHARE * replaceable:
        cure = (
            "take a teacher and word vectors of the text's language (teacher.source, "
            "word_vectors.source: file)"
        )
    elif (barren := summary["rows_without_candidates"] - summary["rows_unspaced"]) and words[
        "entity"
    ]:
        cure = (
            f"{barren:,} rows hold marks, numbers, function words and entities alone, which stay: "
            "set augment.entity_words to replace, or add text"
        )
    elif barren:
        cure = f"{barren:,} rows hold marks, numbers and function words alone, which stay: add text"
    else:
        cure = "raise augment.replace_probability or augment.num_copies"
    return [
        f"augmentation changed little, got copies of {changed:,} of {rows:,} rows and candidates "
        f"for {found:,} of {replaceable:,} replaceable words, so that the phases train on "
        f"{summary['rows_out'] / summary['rows_in']:.1f} times the rows; {cure}, or set "
        "augment.num_copies to 0"
    ]


def main(task: str) -> str:
    """Make data/augmented/<task>."""
    output = Path("data/augmented") / task
    precision: Precision = read_param("precision", Precision)
    summary = augment_task(
        read_section("augment", AugmentSettings),
        read_param("seed", int),
        autocast_dtype(precision),
        Path("data/tasks") / task,
        MODEL,
        VECTORS,
        output,
    )
    if unspaced := describe_unspaced(summary):
        print(f"{task}: {unspaced}", flush=True)
    for doubt in find_doubts(summary):
        print(f"{task}: doubt: {doubt}", flush=True)
    return f"made {describe(summary)}, in {output}"


if __name__ == "__main__":
    run(main)
