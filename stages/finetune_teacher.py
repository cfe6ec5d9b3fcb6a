"""Fine-tune the pretrained teacher on a task, or take one that already is.

python -m stages.finetune_teacher TASK
"""

from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel

from stages import doctor, run
from tinybert.distillation.distillation import Distillation
from tinybert.encoders.checkpoints import from_hub, load_config, load_tokenizer
from tinybert.encoders.classifier import finetuned_classifier, new_classifier
from tinybert.encoders.positions import require_positions
from tinybert.evaluation.scores import evaluate_task, shown_scores
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_file, replace_folder, write_json
from tinybert.runtime.precision import Precision, autocast_dtype
from tinybert.settings.reader import read_param, read_section, read_task
from tinybert.settings.schedule import Grid
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.task import (
    DEV,
    TRAIN,
    Encoding,
    TaskInfo,
    read_info,
    read_named_info,
    read_split,
)
from tinybert.tasks.task_file import TaskFile
from tinybert.training.grid import (
    Point,
    best_of_grid,
    choose_decision,
    dev_scores,
    dev_split,
    schedule_name,
)
from tinybert.training.run import Run
from tinybert.training.training import empty_history

PRETRAINED = Path("models/pretrained")


def finetune_teacher(
    pretrained: Path, task_folder: Path, settings: Grid, encoding: Encoding, how: Run
) -> tuple[PreTrainedModel, pd.DataFrame]:
    """Return the classifier with the best dev score, and its history."""
    info, tokenizer = read_info(task_folder), load_tokenizer(pretrained)

    def make_model() -> Distillation:
        model = new_classifier(pretrained, info, how.seed)
        return Distillation(model, {"label": 1.0}, kind=info.kind)

    dev = dev_split(task_folder, tokenizer, encoding, info)
    model, history, _ = best_of_grid(
        [Point(schedule_name(each), each, make_model) for each in settings.schedules()],
        encode_split(read_split(task_folder, TRAIN), tokenizer, encoding),
        lambda model: dev_scores(model, dev, how.dtype),
        how,
        len(dev.frame),
    )
    choose_decision(model, task_folder, tokenizer, encoding, info)
    return model, history


def save_teacher(
    model: PreTrainedModel,
    tokenizer: Any,
    history: pd.DataFrame,
    task_folder: Path,
    info: TaskInfo,
    encoding: Encoding,
) -> dict[str, Any]:
    """Write the teacher, its history, scores and predictions; return its scores."""
    with replace_folder(Path("models/teacher") / info.name) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    with replace_file(Path(f"reports/training/finetune_teacher/{info.name}.csv")) as file:
        history.to_csv(file, index=False)
    with replace_folder(Path("reports/predictions/teacher") / info.name) as partial:
        result = evaluate_task(model, tokenizer, "teacher", task_folder, info, encoding, partial)
    with replace_file(Path(f"reports/metrics/teacher/{info.name}.json")) as file:
        write_json(result, file)
    return result


def main(task: str) -> str:
    """Read the settings and fine-tune the teacher on a task."""
    settings = read_section("finetune_teacher", Grid)
    task_file, task_folder = read_task(task, TaskFile), Path("data/tasks") / task
    seed, precision = read_param("seed", int), read_param("precision", Precision)
    compiled = read_param("torch_compile", bool)
    info, length_of = read_named_info(task_folder, task), f"params/tasks/{task}.yaml: max_length"
    place, dtype = f"finetune_teacher {task}", autocast_dtype(precision)
    encoding = task_file.encoding(info)
    if task_file.teacher is not None:
        folder = Path(task_file.teacher)
        folder = folder if folder.is_dir() else from_hub(task_file.teacher)
        require_positions(task_file.max_length, load_config(folder), length_of)
        doctor().teacher(place, folder, task_folder, task_file, dtype, finetuned_classifier)
        model, tokenizer = finetuned_classifier(folder, info), load_tokenizer(folder)
        history, how = empty_history(), None
        choose_decision(model, task_folder, tokenizer, encoding, info)
    else:
        read = {"settings": settings.model_dump(), "task": task_file.model_dump(), "seed": seed}
        read |= {"precision": precision, "compile": compiled}
        kept = checkpoints_folder("finetune_teacher", read, [PRETRAINED, task_folder])
        how = Run(place, kept, seed, dtype, compile=compiled)
        require_positions(task_file.max_length, load_config(PRETRAINED), length_of)
        tokenizer = load_tokenizer(PRETRAINED)
        doctor().text(place, tokenizer, task_folder, task)
        doctor().passes(place, settings.schedules(), info.num_rows[TRAIN])
        model, history = finetune_teacher(PRETRAINED, task_folder, settings, encoding, how)
    result = save_teacher(model, tokenizer, history, task_folder, info, encoding)
    if how is not None:
        how.finish()
    return f"made the teacher in models/teacher/{task} (dev: {shown_scores(result, DEV)})"


if __name__ == "__main__":
    run(main)
