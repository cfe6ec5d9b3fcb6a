"""A student as the hub takes it: weights, ONNX files and card in one folder, checked."""

import shutil
from pathlib import Path

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tinybert.deployment.bundle import CARD
from tinybert.encoders.checkpoints import load_classifier, load_config, load_tokenizer
from tinybert.encoders.classifier import PROBLEM_TYPES
from tinybert.runtime.errors import InputError, in_one_line
from tinybert.runtime.outputs import replace_folder
from tinybert.settings.heads import hub_task, kind_of_head


def fill_folder(student: Path, exported: Path, folder: Path) -> None:
    """Write a folder with a student's files, its card, and its ONNX files."""
    with replace_folder(folder) as partial:
        shutil.copytree(student, partial, dirs_exist_ok=True)
        shutil.copytree(exported / "onnx", partial / "onnx")


def check_folder(folder: Path) -> None:
    """Check that the card's metadata are right, and that the model loads as it stands.

    Raises:
        InputError: One of them is not so.
    """
    card = ModelCard.load(folder / CARD, ignore_metadata_errors=False)
    if not card.data.library_name or not card.data.pipeline_tag:
        raise InputError(
            f"{folder / CARD}: the card needs library_name and pipeline_tag, got "
            f"{card.data.library_name} and {card.data.pipeline_tag}; run "
            "`dvc repro --force model_card`"
        )
    kind = kind_of_head(load_config(folder).architectures)
    if card.data.pipeline_tag != hub_task(kind):
        raise InputError(
            f"{folder / CARD}: pipeline_tag must be {hub_task(kind)}, as the model's head is, got "
            f"{card.data.pipeline_tag}; run `dvc repro --force model_card`"
        )
    from transformers import pipeline

    model, tokenizer = load_classifier(folder), load_tokenizer(folder)
    if kind == "span":  # transformers 5 has no pipeline that answers questions
        model(**tokenizer("a question", "a passage", return_tensors="pt"))
        return
    # All labels of a text, since it may have several.
    options = {"top_k": None} if model.config.problem_type == PROBLEM_TYPES["multilabel"] else {}
    pipeline(hub_task(kind), model=model, tokenizer=tokenizer)("a text", **options)


def upload(folder: Path, repo: str) -> str:
    """Upload a folder to a model repository of the hub; return its address.

    Raises:
        InputError: The hub refuses, or does not answer.
    """
    try:
        api = HfApi()
        api.create_repo(repo, repo_type="model", exist_ok=True)
        return str(api.upload_folder(folder_path=folder, repo_id=repo, repo_type="model"))
    except (HTTPError, OSError) as error:  # what the network and the hub's answers raise
        reason = in_one_line(error)[:200]
        raise InputError(
            f"{repo}: the hub takes no upload, got {reason}; log in with `hf auth login`, and see "
            "that the network is there"
        ) from error


def require_repository_name(repo: str) -> None:
    """Check that a repository of the hub may have a name, which is a folder's here too.

    Raises:
        InputError: It may not.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        reason = in_one_line(error)[:200]
        raise InputError(
            f"REPO: no name of a repository, got {repo!r} ({reason}); write user/name"
        ) from error
