"""Score a task's augmented and unlabelled rows with its fine-tuned teacher, once for all students.

python -m stages.teacher_logits TASK
"""

import importlib
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from stages import doctor, run
from tinybert.augmentation.agreement import (
    DROPPED,
    answers_of,
    count_copies,
    describe_copies,
    judge_copies,
)
from tinybert.distillation.sections import TeacherLogitsSettings
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_logits import (
    ENDS,
    INFO,
    LOGITS,
    ROWS,
    RowLogits,
    choose_rows,
    row_sizes,
    score_rows,
)
from tinybert.encoders.checkpoints import load_config, load_tokenizer
from tinybert.encoders.classifier import label_names, task_classifier
from tinybert.encoders.positions import require_positions
from tinybert.evaluation.decision import saved_decision
from tinybert.evaluation.prediction import task_split
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_folder, write_json
from tinybert.runtime.precision import Precision, autocast_dtype, computing_device
from tinybert.settings.reader import read_param, read_section, read_task
from tinybert.tasks.phase_rows import NO_ROW, original_rows, read_rows
from tinybert.tasks.task import read_augmented, read_named_info
from tinybert.tasks.task_file import TaskFile
from tinybert.text.encoded import EncodedRows


def keep_states(
    teacher: Teacher,
    rows: EncodedRows,
    task: str,
    task_file: TaskFile,
    dtype: torch.dtype | None,
) -> NDArray[np.float32] | None:
    """Score all rows and keep the teacher's states for the systems; None where none is kept.

    What is kept changes no output, so systems are no `params` of this stage, and the code that
    asks for them is imported by name.
    """
    if rows.origins is not None or rows.places is not None:
        return None  # windows and tokens, which are scored in another way
    shared = importlib.import_module("tinybert.training.shared_states")
    place = shared.shared_folder(task, Path("models/teacher") / task, rows, dtype)
    logits, why = shared.score_and_keep(teacher, rows, task_file, place)
    if why:
        did = "does not keep" if logits is None else "keeps"
        print(f"teacher_logits {task}: {did} the teacher's states: {why}", flush=True)
    return cast("NDArray[np.float32] | None", logits)


def main(task: str) -> str:
    """Read the settings and score one task's rows."""
    settings = read_section("teacher_logits", TeacherLogitsSettings)
    seed, precision = read_param("seed", int), read_param("precision", Precision)
    task_file = read_task(task, TaskFile)
    teacher_folder, augmented = Path("models/teacher") / task, Path("data/augmented") / task
    folder = Path("data/teacher_logits") / task
    task_folder, dtype = Path("data/tasks") / task, autocast_dtype(precision)
    doctor().teacher(f"teacher_logits {task}", teacher_folder, task_folder, task_file, dtype)
    length_of = f"params/tasks/{task}.yaml: max_length"
    require_positions(task_file.max_length, load_config(teacher_folder), length_of)
    info = read_named_info(task_folder, task)
    model = task_classifier(teacher_folder, info)
    frame = read_rows(None, task_folder, augmented, info)
    agreeing = settings.keep == "agreeing"
    also = settings.also_original or agreeing or task_file.prediction_data == "original"
    row, further = frame["row"].to_numpy(), settings.max_unlabelled_rows
    numbers = choose_rows(row, settings.max_rows, also, seed, further)
    read = {"settings": settings.model_dump(), "task": task_file.model_dump(), "seed": seed}
    read |= {"precision": precision}
    parts = checkpoints_folder("teacher_logits", read, [teacher_folder, augmented, task_folder])
    tokenizer, encoding = load_tokenizer(teacher_folder), task_file.encoding(info)
    split = task_split(frame.iloc[numbers], tokenizer, encoding, info)
    teacher = Teacher(model.to(computing_device()), dtype)
    whole = len(numbers) == len(frame) and len(original_rows(row)) == (row != NO_ROW).sum()
    logits = keep_states(teacher, split.rows, task, task_file, dtype) if whole else None
    if logits is None:
        logits = score_rows(teacher, split.rows, dtype, parts)
    sizes = row_sizes(split.rows, len(numbers), split.rows.places is not None)
    scored = RowLogits(numbers, logits, np.cumsum(sizes))
    copies: dict[str, int] = {}
    if agreeing:
        limits = (settings.min_probability, settings.max_change)
        labelled = row[numbers] != NO_ROW
        answers, sure = answers_of(
            split, logits, saved_decision(model.config, info, str(teacher_folder))
        )
        judged = read_augmented(augmented, info).iloc[numbers[labelled]]
        verdicts = judge_copies(judged, answers[labelled], sure[labelled], *limits)
        copies = count_copies(verdicts)
        if any(copies.values()):
            print(f"{task}: {describe_copies(copies)}", flush=True)
        kept = ~labelled
        kept[labelled] = ~verdicts.isin(DROPPED).to_numpy()
        numbers = numbers[kept]
        scored = RowLogits(numbers, scored.of(numbers), np.cumsum(sizes[kept]))
    with replace_folder(folder) as partial:
        np.save(partial / ROWS, numbers)
        np.save(partial / LOGITS, scored.values)
        np.save(partial / ENDS, scored.ends)
        about = {"labels": label_names(model), "num_rows": len(numbers), "of": len(frame)}
        about |= {"keep": settings.keep, "copies": copies}
        write_json(about, partial / INFO)
    shutil.rmtree(parts, ignore_errors=True)
    return f"made logits of {len(numbers):,} of {len(frame):,} rows in {folder}"


if __name__ == "__main__":
    run(main)
