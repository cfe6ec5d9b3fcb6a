"""Rows without labels, which the teacher scores: read, checked, parted from rows to be scored on.

Students must not be trained on what dev and test will ask; `row_key` says which rows are the same.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import pandas as pd

from tinybert.runtime.errors import InputError
from tinybert.tasks.conll import read_conll
from tinybert.tasks.files import read_table
from tinybert.tasks.question_rows import check_questions
from tinybert.tasks.rows import check_split, refuse_empty
from tinybert.tasks.sampled_pairs import sample_pairs
from tinybert.tasks.sources import Sources, read_hub, watched_files
from tinybert.tasks.squad import read_squad
from tinybert.tasks.tables import Table
from tinybert.tasks.task import TRAIN, UNLABELLED
from tinybert.tasks.task_file import (
    CONLL_COLUMNS,
    USUAL_COLUMNS,
    Columns,
    Hub,
    TaskFile,
    UnlabelledColumns,
)
from tinybert.tasks.text import read_lines, row_key, spoilt_text
from tinybert.tasks.token_rows import check_texts, text_table

TEXT = ".txt"  # one text a line
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
TAGGED = re.compile("O|[BIESLUM][-_].+")  # the end of a line of CoNLL
SQUAD = ".json"  # questions in SQuAD's layout
DIGEST = "digest"  # a column while rows are compared


def read_unlabelled_tables(
    task: TaskFile, sources: Sources, tables: Mapping[str, Table]
) -> list[Table]:
    """Read what a task's file names under `unlabelled`; nothing where it names nothing.

    Args:
        task: The task's file.
        sources: Where to look.
        tables: The task's splits.

    Raises:
        InputError: A source is missing, cannot be read, lacks a column, or is dev's or test's.
    """
    named = task.unlabelled
    if named is None:
        return []
    columns = named.columns or UnlabelledColumns(**task.columns.model_dump(exclude={"label"}))
    if named.hub is not None:
        splits = {UNLABELLED: named.hub.split}
        hub = Hub.model_construct(path=named.hub.path, name=named.hub.name, splits=splits)
        found = [*read_hub(hub, columns, sources.folder, task.kind == "tokens").values()]
    else:
        paths = watched_files(sources.folder, named.files, "unlabelled")
        found = [_read_file(task, path, columns) for path in paths]
    for table in found:
        _refuse_eval_split(table, tables)
    return found


def _read_file(task: TaskFile, file: Path, columns: Columns) -> Table:
    """Read a file by its extension; of a CoNLL task, what has none of a table's is CoNLL too."""
    kind = file.suffix.lower()
    conll = task.files is not None and task.files.format == "conll"
    if conll and kind == TEXT:
        _refuse_conll(file)
    if kind == TEXT:
        return read_texts(file)
    if kind == SQUAD and task.kind == "span":
        return read_squad(file, False)
    if conll and kind not in TABLES:
        return read_conll(file, columns, labelled=False)
    if conll and columns.sentence1 == CONLL_COLUMNS["sentence1"]:
        columns = UnlabelledColumns(sentence1=USUAL_COLUMNS["tokens"]["sentence1"])
    named = task.unlabelled
    separator, header = (named.separator, named.header) if named else (None, None)
    return read_table(file, columns, False, separator, header, lists=task.kind == "tokens")


def _refuse_conll(file: Path) -> None:
    """Refuse a .txt of a word a line, of which each line would be a text."""
    lines = [str(line).split() for line in read_texts(file).sentence1]
    count = sum(len(line) == 1 or bool(TAGGED.fullmatch(line[-1])) for line in lines)
    if 2 * count > len(lines):
        raise InputError(
            f"{file}: holds a word a line, got {count} of {len(lines)} lines with a single word or "
            f"a tag at the end, where a .txt has a text a line; rename it to {file.stem}.conll"
        )


def read_texts(file: Path) -> Table:
    """Read a file of one text a line; blank lines are left out, and counted in a note."""
    if not (data := file.read_bytes()).strip():
        raise InputError(f"{file}: is empty, got {len(data)} bytes; write one text a line")
    lines = list(read_lines(file))
    texts = [(number, line) for number, line in lines if line.strip()]
    table = Table(str(file), "line", [number for number, _ in texts], [line for _, line in texts])
    if blank := len(lines) - len(texts):
        table.notes.append(f"{len(lines)} lines hold {len(texts)} rows: {blank} blank")
    return table


def _refuse_eval_split(table: Table, tables: Mapping[str, Table]) -> None:
    """Refuse a file or a hub's split that the task is scored on."""
    for split, other in tables.items():
        places = Path(table.place), Path(other.place)
        same = all(place.is_file() for place in places) and places[0].samefile(places[1])
        if split != TRAIN and (same or table.place == other.place):
            raise InputError(
                f"{table.place}: is the task's {split}, got it as unlabelled rows too; name "
                "another under `unlabelled`: students must not be trained on what scores them"
            )


def prepare_unlabelled(
    task: TaskFile, tables: Sequence[Table], splits: Mapping[str, pd.DataFrame], seed: int
) -> tuple[pd.DataFrame, list[str]]:
    """Check the rows, take out those of other splits and duplicates, and draw some.

    The same rows come out, in the same order, whatever the order of files and rows: it is that of
    a hash. So a larger `max_rows` keeps the rows of a smaller one.

    Args:
        task: The task's file.
        tables: Its unlabelled rows as they were read.
        splits: Its splits as they will be written.
        seed: Of the drawing.

    Returns:
        `sentence1`, and `sentence2` of pairs or the places of words of tokens; and what was
        decided about rows, to be printed.

    Raises:
        InputError: Bad rows, all listed; or no row is left.
    """
    checked = []
    for table in tables:
        refuse_empty(table)
        drop = task.bad_rows == "drop"
        if task.kind == "tokens":
            checked.append(check_texts(table, drop))
        elif task.kind == "span":
            checked.append(check_questions(table, drop, scored=False))
        else:
            checked.append(check_split(table, None, drop))
    notes = [note for table in tables for note in [*table.notes, *spoilt_text(text_table(table))]]
    notes += [found.note for found in checked if found.note]
    rows = pd.concat([found.frame for found in checked], ignore_index=True)
    num_bad = sum(found.dropped for found in checked)
    limit = task.unlabelled.max_rows if task.unlabelled else None
    drawn, counts = draw_new(rows, splits, seed, limit)
    num_read = len(rows) + num_bad
    left_out = _said({"bad": num_bad, **counts})
    if drawn.empty:
        raise InputError(
            f"{', '.join(table.place for table in tables)}: no unlabelled row is left, got "
            f"{num_read:,}: {left_out}; give texts that the task does not have already"
        )
    notes.append(f"{len(drawn):,} of {num_read:,} rows, seed {seed}; left out: {left_out}")
    return drawn, [f"{UNLABELLED}: {note}" for note in notes]


def prepare_sampled(
    splits: Mapping[str, pd.DataFrame], number: int, seed: int
) -> tuple[pd.DataFrame, list[str]]:
    """Sample pairs of the texts of train and of unlabelled rows that no split and none of them has.

    Args:
        splits: The task's splits as they will be written, `unlabelled` too if it has such rows.
        number: The most pairs.
        seed: Of the drawing.

    Returns:
        `sentence1` and `sentence2`; and what was decided, to be printed.
    """
    texts = pd.concat([splits[name] for name in (TRAIN, UNLABELLED) if name in splits])
    pairs = sample_pairs(texts, number, seed)
    drawn, counts = draw_new(pairs, splits, seed, number)
    note = f"{len(drawn):,} of {len(pairs):,} pairs of its texts; left out: {_said(counts)}"
    return drawn, [f"sampled pairs: {note}"]


def draw_new(
    rows: pd.DataFrame, splits: Mapping[str, pd.DataFrame], seed: int, limit: int | None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Draw rows that no split has, each once; count what is left out, by why.

    Args:
        rows: Checked rows without labels.
        splits: By name; rows of others than `train` and `unlabelled` are to be scored on.
        seed: Of the drawing.
        limit: The most rows; None: all.
    """
    columns = [str(name) for name in rows]
    sentences = [name for name in columns if name.startswith("sentence")]
    rows = rows.assign(**{DIGEST: list(_digests(rows[sentences], seed))})
    known = {split: set(_digests(frame[sentences], seed)) for split, frame in splits.items()}
    in_train = rows[DIGEST].isin(known.pop(TRAIN))
    in_unlabelled = rows[DIGEST].isin(known.pop(UNLABELLED, set()))
    in_eval = rows[DIGEST].isin(set().union(*known.values()))
    others = rows[~in_train & ~in_unlabelled & ~in_eval]
    unique = others.sort_values([DIGEST, *sentences]).drop_duplicates(DIGEST)
    drawn = unique.head(len(unique) if limit is None else limit)
    counts = {
        "in dev or test": int(in_eval.sum()),
        "in train": int((in_train & ~in_eval).sum()),
        "duplicates": len(rows) - int((in_train | in_eval).sum()) - len(unique),
        "beyond max_rows": len(unique) - len(drawn),
    }
    return drawn[columns].reset_index(drop=True), counts


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())


def _digests(frame: pd.DataFrame, seed: int) -> Iterator[str]:
    """Hash each row's sentences, alike for rows that count as the same."""
    for row in frame.itertuples(index=False, name=None):
        yield blake2b(f"{seed}\0{row_key(row)}".encode(), digest_size=16).hexdigest()
