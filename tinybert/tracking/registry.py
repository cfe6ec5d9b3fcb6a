"""Register students and teachers, once each, with the aliases `newest` and `best`."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.deployment.sections import INT8
from tinybert.encoders.checkpoints import load_classifier, load_tokenizer, read_config
from tinybert.encoders.positions import MOST_POSITIONS, positions
from tinybert.reports.model_card import CARD
from tinybert.reports.results import TEACHER, Results
from tinybert.settings.choices import Kind
from tinybert.settings.heads import hub_task
from tinybert.tasks.task import DEV, read_named_info
from tinybert.tracking.failures import say

PACKAGES = ("mlflow", "torch", "transformers", "accelerate", "safetensors", "pandas")
ONNX_PACKAGES = ("mlflow", "onnx", "onnxruntime", "numpy")
WEIGHTS_TAG, SCORE_TAG, METRIC_TAG = "weights", "dev_score", "metric"
PROMPT_TAG = "mlflow.prompt.is_prompt"
LONGEST = 5000  # characters of a description, in MLflow's databases
CUT = "\n..."


@dataclass(frozen=True)
class Model:
    """A classifier to register.

    Attributes:
        name: In the registry, `<system>-<task>`.
        folder: Its files, as `save_pretrained` wrote them.
        pair: Whether it takes two sentences.
        dev_score: By the task's first metric.
        tags: System, task and metric.
        is_onnx: Whether the folder is what `export` made, whose int8 model is logged.
        kind: Of the task.
    """

    name: str
    folder: Path
    pair: bool
    dev_score: float
    tags: dict[str, str]
    is_onnx: bool = False
    kind: Kind = "classification"

    def weights(self) -> str:
        """Hash the weights with labels and tokenizer: the same hash is the same model.

        Its card is left out, which is another one whenever latency is measured again.
        """
        digest = hashlib.sha256()
        files = (path for path in self.folder.rglob("*") if path.is_file())
        for file in sorted(file for file in files if file != self.folder / CARD):
            digest.update(file.relative_to(self.folder).as_posix().encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def description(self) -> str:
        """Return the card without its metadata, cut to what a model registry takes."""
        card = self.folder / CARD
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
        body = text.split("\n---\n", 1)[-1].strip()
        return body if len(body) <= LONGEST else body[: LONGEST - len(CUT)] + CUT


def find_models(results: Results, folder: Path) -> list[Model]:
    """Return every model that was scored on its task's dev split and is there.

    Args:
        results: The scores.
        folder: The project's folder.
    """
    found = []
    for (system, task), scores in results.scores.items():
        teacher = system == TEACHER
        place = folder / "models" / (f"teacher/{task}" if teacher else f"student/{system}/{task}")
        if scores.main_metric in scores.metrics.get(DEV, {}) and place.is_dir():
            info = read_named_info(folder / "data/tasks" / task, task)
            score = scores.metrics[DEV][scores.main_metric]
            tags = {"system": system, "task": task, METRIC_TAG: scores.main_metric}
            name = f"{system}-{task}"
            found.append(Model(name, place, info.pair, score, tags, kind=info.kind))
            if export := results.exports.get((system, task)):
                place = folder / "models/onnx" / system / task
                int8: dict[str, Any] = {
                    "dev_score": export.chosen.score,
                    "folder": place,
                    "is_onnx": True,
                }
                found.append(replace(found[-1], name=f"{system}-{task}-onnx", **int8))
    return found


def register(client: Any, run_id: str, models: Sequence[Model]) -> None:
    """Register each model, but for those whose weights are there, and set the aliases.

    Args:
        client: MLflow's.
        run_id: The pipeline's run, which the models are logged in.
        models: What to register.
    """
    for model in models:
        if _is_prompt(client, model.name):
            reason = "the registry has a prompt of this name, got no place for the model"
            say(f"{model.name}: {reason}; delete or rename the prompt, then `dvc repro -fs track`")
            continue
        weights = model.weights()
        number = _known(client, model.name, weights) or _log(client, run_id, model, weights)
        metric = model.tags[METRIC_TAG]  # which the task's file may have changed
        for tag, value in ((SCORE_TAG, str(model.dev_score)), (METRIC_TAG, metric)):
            client.set_model_version_tag(model.name, number, tag, value)
        if description := model.description():
            client.update_model_version(model.name, number, description)
        client.set_registered_model_alias(model.name, "newest", number)
        best = _best(client, model.name, metric)
        client.set_registered_model_alias(model.name, "best", best)


def _versions(client: Any, name: str) -> list[Any]:
    return list(client.search_model_versions(f"name='{name}'"))


def _known(client: Any, name: str, weights: str) -> str | None:
    """Return the version with these weights, if its files are still there."""
    for found in _versions(client, name):
        if found.tags.get(WEIGHTS_TAG) == weights and not _is_lost(client, found):
            return str(found.version)
    return None


def _best(client: Any, name: str, metric: str) -> str:
    """Return the best version by a metric whose files are there; the newest is one of them."""
    versions = {
        str(each.version): each
        for each in _versions(client, name)
        if each.tags.get(METRIC_TAG) == metric
    }
    scores = {number: _score(each) for number, each in versions.items()}
    while True:
        best = best_version([(n, score) for n, score in scores.items() if not math.isnan(score)])
        if not _is_lost(client, versions[best]):
            return best
        del scores[best]


def best_version(scores: Sequence[tuple[str, float]]) -> str:
    """Return the version with the highest score, the first one of equals."""
    return max(sorted(scores, key=lambda each: int(each[0])), key=lambda each: each[1])[0]


def _score(version: Any) -> float:
    """Return a version's score; NaN where a person deleted or edited it."""
    try:
        return float(version.tags[SCORE_TAG])
    except (KeyError, ValueError):
        return math.nan


def _is_lost(client: Any, version: Any) -> bool:
    """Return whether a version's files were deleted; they would be loaded by its alias."""
    import mlflow

    mlflow.set_tracking_uri(client.tracking_uri)
    uri = client.get_model_version_download_uri(version.name, str(version.version))
    if any(mlflow.artifacts.list_artifacts(artifact_uri=uri)):
        return False
    say(f"{version.name}: the files of version {version.version} are gone, got none; it is passed")
    return True


def _is_prompt(client: Any, name: str) -> bool:
    """Return whether a prompt has the name: models and prompts share one registry."""
    query = f"name='{name}' AND tags.`{PROMPT_TAG}` = 'true'"
    return bool(client.search_registered_models(query))


def _log(client: Any, run_id: str, model: Model, weights: str) -> str:
    """Log a model's files in the run, and return the number of its new version."""
    import mlflow

    mlflow.set_tracking_uri(client.tracking_uri)
    if model.kind == "span" and not model.is_onnx:
        # transformers 5 has no pipeline that answers questions, so it is registered as files:
        # AutoModelForQuestionAnswering.from_pretrained(mlflow.artifacts.download_artifacts(...))
        client.log_artifacts(run_id, str(model.folder), model.name)
        source, model_id = f"runs:/{run_id}/{model.name}", None
    else:
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            logged = _log_onnx(model) if model.is_onnx else _log_transformers(model)
        source, model_id = logged.artifact_path, logged.model_id
    if not client.search_registered_models(f"name='{model.name}'"):
        client.create_registered_model(model.name)
    made = client.create_model_version(
        model.name,
        source,
        run_id=run_id,
        model_id=model_id,
        tags={WEIGHTS_TAG: weights, **model.tags},
    )
    return str(made.version)


def _log_transformers(model: Model) -> Any:
    import mlflow
    from huggingface_hub import ModelCard

    # As a folder it could be given too, but MLflow 3.17 does not know transformers 5's tasks.
    return mlflow.transformers.log_model(
        {"model": load_classifier(model.folder), "tokenizer": load_tokenizer(model.folder)},
        name=model.name,
        task=hub_task(model.kind),
        signature=_signature(model),
        pip_requirements=_pinned(PACKAGES),
        model_config=_call_options(model),
        model_card=ModelCard(f"---\nlicense: unknown\n---\n# {model.name}\n"),
    )


def _log_onnx(model: Model) -> Any:
    """Log the int8 model: token ids in, logits out; its tokenizer is the student's."""
    import mlflow
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    graph = onnx.load(model.folder / INT8)
    inputs, outputs = (
        [
            TensorSpec(np.dtype(kind), (-1,) * len(each.type.tensor_type.shape.dim), each.name)
            for each in of
        ]
        for kind, of in (("int64", graph.graph.input), ("float32", graph.graph.output))
    )
    return mlflow.onnx.log_model(
        graph,
        name=model.name,
        signature=ModelSignature(Schema(inputs), Schema(outputs)),
        pip_requirements=_pinned(ONNX_PACKAGES),
        save_as_external_data=False,
    )


def _pinned(packages: Sequence[str]) -> list[str]:
    return [f"{name}=={version(name).split('+')[0]}" for name in packages]


def _call_options(model: Model) -> dict[str, Any]:
    """Return what the pipeline is called with."""
    if model.kind == "tokens":
        return {"aggregation_strategy": "first"}  # by words, each by its first piece
    options: dict[str, Any] = {"truncation": True, "max_length": longest_row(model.folder)}
    return options | ({"top_k": None} if model.kind == "multilabel" else {})


def _signature(model: Model) -> Any:
    """Return what MLflow's server takes and gives.

    Of several labels a column for each rank, of entities their types in one text, parted by commas.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Object, Property

    columns = ["text", "text_pair"] if model.pair else ["text"]
    said = [ColSpec("string", "label"), ColSpec("double", "score")]
    if model.kind == "tokens":
        said = [ColSpec("string")]
    if model.kind == "multilabel":
        one = Object([Property("label", DataType.string), Property("score", DataType.double)])
        said = [ColSpec(one, str(rank)) for rank in range(_num_labels(model))]
    return ModelSignature(
        inputs=Schema([ColSpec("string", name) for name in columns]), outputs=Schema(said)
    )


def _num_labels(model: Model) -> int:
    config = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    return len(config["id2label"])


def longest_row(folder: Path) -> int:
    """Return how many tokens of a text a checkpoint's model is asked to read."""
    return min(MOST_POSITIONS, positions(read_config(folder)) or MOST_POSITIONS)
