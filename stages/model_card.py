"""Put a student's model card beside its files.

python -m stages.model_card SYSTEM TASK
"""

from pathlib import Path
from typing import Any

from stages import run
from tinybert.reports.model_card import CARD, Augmented, Corpus, Facts, copy_with_card, megabytes
from tinybert.reports.results import TEACHER, read_results
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import (
    named_file,
    profile_file,
    read_json,
    read_param,
    read_task,
    read_yaml,
)
from tinybert.tasks.task import read_named_info
from tinybert.tasks.task_file import TaskFile

REPORTS = Path("reports")


def read_facts(system: str, task: str) -> Facts:
    """Read what the card says from the files in the working directory."""
    student = Path("models/prediction") / system / task
    augmentation = Path("data/augmented") / task / "augmentation.json"
    teacher = Path("models/teacher") / task / "config.json"
    results = read_results([system], [task], REPORTS)
    if (system, task) not in results.scores:
        file = REPORTS / "metrics" / system / f"{task}.json"
        raise InputError(f"{file}: missing, got no scores; run `dvc repro evaluate`")
    params = {
        "seed": read_param("seed", int),
        "precision": read_param("precision", str),
        "tasks": read_param("tasks", list[str]),
        "loss": read_param("loss", dict[str, float]),
    }
    return Facts(
        system=system,
        system_file=read_yaml(named_file("systems", system)),
        profile=read_param("profile", str),
        profile_file=read_yaml(profile_file()),
        params=params,
        info=read_named_info(Path("data/tasks") / task, task),
        task_file=read_task(task, TaskFile),
        augmentation=read_json(augmentation, Augmented, "dvc repro augment"),
        corpus=read_json(Path("data/corpus/corpus.json"), Corpus, "dvc repro prepare_corpus"),
        scores=results.scores[system, task],
        teacher_scores=results.scores.get((TEACHER, task)),
        latency=results.latency.get(system),
        export=results.exports.get((system, task)),
        config=read_json(student / "config.json", dict[str, Any], "dvc repro prediction_distill"),
        teacher_config=read_json(teacher, dict[str, Any], "dvc repro finetune_teacher"),
        megabytes=megabytes(student),
    )


def main(system: str, task: str) -> str:
    """Make models/student/<system>/<task>."""
    source, folder = (Path("models") / kind / system / task for kind in ("prediction", "student"))
    copy_with_card(source, read_facts(system, task), folder)
    return f"made the student in {folder}, with its card {folder / CARD}"


if __name__ == "__main__":
    run(main)
