"""What MLflow's pages show first: scores beside each other, datasets, source and version."""

import getpass
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.reports.results import Results, score_columns
from tinybert.tasks.task import DEV, TRAIN
from tinybert.tracking.store import milliseconds

NOTE_TAG = "mlflow.note.content"  # the description, on top of a run's page
HEADING = "## Scores"  # a description that begins otherwise was written by a person, and stays
VIEW = "scores"  # name of the view, and its key in an address
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
STATE_TAG = "pipeline_state"  # of a pipeline's run
PIPELINES = f"tags.{STATE_TAG} != ''"
DIGEST_LENGTH = 8  # as MLflow's own are; it stands in the column Dataset
TRAINING = "workflowType=machine_learning"  # in an address; MLflow 3 shows GenAI's pages without it
LINK = "[Scores beside each other]"
PAGES = "http://127.0.0.1:5000"  # where `make ui` and `make server` show a local store
# MLflow's columns, by its names for them, with widths in pixels. A run's age shrinks to the mark of
# its status: it cannot be hidden, and stands left of every figure.
LEFT = {"attributes.`Run Name`": 150, "runDateAndNestInfo": 44}
RIGHT = {
    "attributes.`Dataset`": 220,
    "attributes.`Source`": 110,
    "attributes.`Version`": 100,
    "attributes.`Models`": 200,
    "duration": 80,
}
FIT = 370  # what is left for figures on a page of 1200 beside MLflow's assistant
NARROW = 96  # a figure and the first letters of its name, which a tooltip shows whole
LETTER, MARGIN = 7.5, 26


@dataclass(frozen=True)
class TaskData:
    """One split of a prepared task.

    Attributes:
        task: Its name.
        split: `train` or `dev`.
        digest: Of its file.
        source: The file, as the project names it.
    """

    task: str
    split: str
    digest: str
    source: str


def task_data(tasks: Sequence[str], folder: Path) -> list[TaskData]:
    """Return the splits that trainings and scores are made from, as far as they are there."""
    found = []
    for task in tasks:
        for split in (TRAIN, DEV):
            source = f"data/tasks/{task}/{split}.parquet"
            if (folder / source).is_file():
                with (folder / source).open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()[:DIGEST_LENGTH]
                found.append(TaskData(task, split, digest, source))
    return found


def log_data(client: Any, run_id: str, data: Sequence[TaskData]) -> None:
    """Log the splits as the run's inputs, which the column Dataset shows; again changes nothing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(each.task, each.digest, "local", json.dumps({"uri": each.source})),
            [InputTag("mlflow.data.context", each.split)],
        )
        for each in data
    ]
    if inputs:
        client.log_inputs(run_id, inputs)


def source_tags(git_commit: str, stage: str = "") -> dict[str, str]:
    """Return the tags of a pipeline, or a stage's, that fill the columns Source, Version, User."""
    name = f"stages/{stage}.py" if stage else "dvc.yaml"
    tags = {"mlflow.source.name": name, "mlflow.source.type": "LOCAL"}
    if git_commit != "unknown":
        tags["mlflow.source.git.commit"] = git_commit
    with suppress(KeyError, OSError):  # a container's user without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def description(name: str, tables: Path) -> str:
    """Return a run's description in Markdown: its name and the table of scores."""
    file = tables / "results.md"
    table = file.read_text(encoding="utf-8") if file.is_file() else ""
    return f"{HEADING} of {name}\n\n{table}".strip() + "\n"


def score_metrics(results: Results) -> list[str]:
    """Name the metrics of the view: averages, each task's dev score by system, shares."""
    columns = [column for column in score_columns(results) if column.split("/")[1].startswith(DEV)]
    if len(columns) > 1:
        columns = ["average", *columns]
    shown = [f"{row}/{column}" for column in columns for row in results.rows]
    return [*shown, *(f"{system}/share_of_teacher" for system in results.systems)]


def save_view(client: Any, experiment: str, metrics: Sequence[str]) -> None:
    """Save the view `scores` of the experiment's runs, which MLflow's button Views lists.

    Without it a person has to choose the columns: MLflow shows no metric by itself.
    """
    tags = client.get_experiment(experiment).tags
    figures = {f"metrics.`{name}`": width for name, width in _widths(metrics).items()}
    widths = LEFT | figures | RIGHT
    state = {
        "searchFilter": PIPELINES,
        "selectedColumns": [*figures, *(name for name in RIGHT if "." in name)],
        "columnOrder": list(widths),
        "columnWidths": widths,
    }
    text = json.dumps(state)
    if _state(tags) != text:
        now = milliseconds()
        view = {"name": VIEW, "createdAt": now, "updatedAt": now, "state": text}
        client.set_experiment_tag(experiment, VIEW_TAG, json.dumps(view))
    if tags.get(NOTE_TAG, LINK).startswith(LINK):  # else a person wrote it
        client.set_experiment_tag(experiment, NOTE_TAG, f"{LINK}({scores_page('', experiment)})")


def _widths(metrics: Sequence[str]) -> dict[str, int]:
    """Return columns as wide as system and task, the first score's narrow enough for all systems.

    Their names begin with the system, so what is cut off is the same for all of them.
    """
    first = metrics[0].partition("/")[2] if metrics else ""
    names = {name: name.partition("/") for name in metrics}
    widths = {}
    for name, (system, _, score) in names.items():
        words = system if score == first else f"{system}/{score.partition(f'/{DEV}')[0]}"
        widths[name] = MARGIN + round(LETTER * len(words))
    leading = [name for name in metrics if names[name][2] == first]
    if sum(widths[name] for name in leading) > FIT:
        widths |= {name: min(widths[name], NARROW) for name in leading}
    return widths


def _state(tags: Mapping[str, str]) -> str:
    try:
        return str(json.loads(tags.get(VIEW_TAG, ""))["state"])
    except (ValueError, KeyError, TypeError):  # none yet, or edited by hand
        return ""


def scores_page(server: str, experiment: str) -> str:
    """Return the address of the runs with their scores beside each other."""
    return f"{server}#/experiments/{experiment}/runs?{TRAINING}&viewStateShareKey={VIEW}"


def server_of(uri: str) -> str:
    """Return where a store's pages are."""
    return (uri.rstrip("/") if uri.startswith("http") else PAGES) + "/"
