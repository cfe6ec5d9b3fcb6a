"""Register models, once each, with the aliases `newest` and `best`."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from tinybert.checkpoints import load_classifier, load_tokenizer
from tinybert.tracking.models import Model, best_version

PACKAGES = ("mlflow", "torch", "transformers", "accelerate", "safetensors", "pandas")
WEIGHTS_TAG, SCORE_TAG = "weights", "dev_score"


def register(client: Any, uri: str, run_id: str, models: Sequence[Model]) -> None:
    """Register each model, but for those whose weights are there, and set the aliases.

    Args:
        client: MLflow's.
        uri: Its store or server.
        run_id: The pipeline's run, which the models are logged in.
        models: What to register.
    """
    for model in models:
        weights = model.weights()
        known = {
            found.tags.get(WEIGHTS_TAG): found.version
            for found in client.search_model_versions(f"name='{model.name}'")
        }
        number = str(known.get(weights) or _log(client, uri, run_id, model, weights))
        client.set_model_version_tag(model.name, number, SCORE_TAG, str(model.dev_score))
        if description := model.description():
            client.update_model_version(model.name, number, description)
        scores = [
            (str(found.version), float(found.tags[SCORE_TAG]))
            for found in client.search_model_versions(f"name='{model.name}'")
            if SCORE_TAG in found.tags
        ]
        client.set_registered_model_alias(model.name, "newest", number)
        client.set_registered_model_alias(model.name, "best", best_version(scores))


def _log(client: Any, uri: str, run_id: str, model: Model, weights: str) -> str:
    """Log a model's files in the run, and return the number of its new version."""
    import mlflow
    from huggingface_hub import ModelCard

    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        # As a folder it could be given too, but MLflow 3.17 does not know transformers 5's tasks.
        logged = mlflow.transformers.log_model(
            {"model": load_classifier(model.folder), "tokenizer": load_tokenizer(model.folder)},
            name=model.name,
            task="text-classification",
            signature=_signature(model.pair),
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in PACKAGES],
            model_config={"truncation": True, "max_length": _max_length(model)},
            model_card=ModelCard(f"---\nlicense: unknown\n---\n# {model.name}\n"),
        )
    if not client.search_registered_models(f"name='{model.name}'"):
        client.create_registered_model(model.name)
    made = client.create_model_version(
        model.name,
        logged.artifact_path,
        run_id=run_id,
        model_id=logged.model_id,
        tags={WEIGHTS_TAG: weights, **model.tags},
    )
    return str(made.version)


def _signature(pair: bool) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = ["text", "text_pair"] if pair else ["text"]
    return ModelSignature(
        inputs=Schema([ColSpec("string", name) for name in columns]),
        outputs=Schema([ColSpec("string", "label"), ColSpec("double", "score")]),
    )


def _max_length(model: Model) -> int:
    config = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    return min(512, int(config.get("max_position_embeddings", 512)))
