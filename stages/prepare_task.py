"""Turn a task's data, wherever it is, into the folder every later stage reads.

python -m stages.prepare_task TASK
"""

from pathlib import Path

import pandas as pd

from stages import run
from tinybert.runtime.outputs import replace_folder
from tinybert.settings.reader import read_param, read_section, read_task
from tinybert.tasks.entities import count_entities
from tinybert.tasks.question_rows import describe_questions, prepare_questions
from tinybert.tasks.rows import prepare
from tinybert.tasks.sections import PrepareTaskSettings
from tinybert.tasks.sources import Sources, read_splits
from tinybert.tasks.task import UNLABELLED, TaskInfo, write_task
from tinybert.tasks.task_file import TaskFile
from tinybert.tasks.token_rows import prepare_tokens
from tinybert.tasks.unlabelled import (
    prepare_sampled,
    prepare_unlabelled,
    read_unlabelled_tables,
)

PREPARE = {"tokens": prepare_tokens, "span": prepare_questions}  # by kind; others: `prepare`


def prepare_task(
    name: str,
    task: TaskFile,
    sources: Path,
    settings: PrepareTaskSettings,
    seed: int,
    folder: Path,
) -> TaskInfo:
    """Read, check and write a task.

    Args:
        name: Name of the task.
        task: Its file.
        sources: The folder that holds GLUE's folders and the user's files.
        settings: Where GLUE comes from, and how much of train is kept.
        seed: Of embedded tasks, of rows set aside and of subsets.
        folder: Prepared folder, replaced once everything is in it.

    Side effects: prints a line for each split and for each decision about rows.
    """
    places = Sources(folder=sources, glue=settings.glue, glue_hub=settings.glue_hub)
    tables = read_splits(task, places, seed)
    further = [tables.pop(UNLABELLED)] if UNLABELLED in tables else []
    further += read_unlabelled_tables(task, places, tables)
    make = PREPARE.get(task.kind, prepare)
    prepared = make(name, task, tables, seed, settings.max_train_rows)
    info, frames, notes = prepared.info, dict(prepared.splits), list(prepared.notes)
    if further:
        frames[UNLABELLED], more = prepare_unlabelled(task, further, prepared.splits, seed)
        notes += more
    if task.samples_pairs(settings.sampled_pairs):
        pairs, more = prepare_sampled(frames, settings.sampled_pairs, seed)
        notes += more
        if len(pairs):
            given = [frames[UNLABELLED]] if further else []
            frames[UNLABELLED] = pd.concat([*given, pairs], ignore_index=True)
            info = info.model_copy(update={"num_sampled": len(pairs)})
    if UNLABELLED in frames:
        info = info.model_copy(update={"num_unlabelled": len(frames[UNLABELLED])})
    with replace_folder(folder) as partial:
        write_task(partial, info, frames)
    for note in notes:
        print(f"{name} {note}")
    for split, frame in prepared.splits.items():
        span = info.kind == "span"
        shown = describe_questions(frame) if span else describe(frame, info.labels)
        print(f"{name} {split}: {shown}")
    return info


def describe(frame: pd.DataFrame, labels: list[str]) -> str:
    """Return the number of rows, and the count of each label or the range of the values.

    Of words with tags, the number of words and the count of each type's entities.
    """
    rows = f"{len(frame)} rows"
    if "word_starts" in frame:
        rows = f"{len(frame)} sentences, {sum(map(len, frame['word_starts']))} words"
    if "label" not in frame:
        return f"{rows}, without labels"
    values = frame["label"]
    if "word_starts" in frame:
        entities = count_entities(values, labels)
        return f"{rows}, " + ", ".join(f"{count} {name}" for name, count in entities.items())
    if not labels:
        return f"{rows}, {values.min():g} to {values.max():g}, mean {values.mean():.2f}"
    counts = values.explode().value_counts()
    several = values.dtype == object
    without = f", {int(values.map(len).eq(0).sum())} without any" if several else ""
    named = ", ".join(f"{counts.get(i, 0)} {name}" for i, name in enumerate(labels))
    return f"{rows}, {named}{without}"


def main(task: str) -> str:
    """Prepare one task of params.yaml."""
    folder = Path("data/tasks") / task
    info = prepare_task(
        task,
        read_task(task, TaskFile),
        Path(read_param("sources.tasks", str)),
        read_section("prepare_task", PrepareTaskSettings),
        read_param("seed", int),
        folder,
    )
    return f"made task {task}, {sum(info.num_rows.values())} rows, in {folder}"


if __name__ == "__main__":
    run(main)
