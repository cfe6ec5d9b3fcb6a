"""Whether a checkpoint's weights are those its configuration describes: none missing, none over.

A library that loads weights makes up those it does not find and leaves out those it does not know;
both would pass for a teacher. Here all of it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError, safe_open

from tinybert.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
# What wraps a model for several GPUs, compiling, or training leaves in the names of weights.
ANYWHERE = frozenset(
    "_checkpoint_wrapped_module _forward_module _fsdp_wrapped_module _orig_mod module".split()
)
LEADING = frozenset({"0", "auto_model", "backbone", "base_model", "model", "net", "network"})
BUFFERS = ("position_ids", "token_type_ids", "inv_freq")
# First or second part of the names of heads, of any task, that a model may lack or leave unused.
HEADS = frozenset(
    "classification_head classifier cls decoder discriminator_predictions generator_lm_head "
    "generator_predictions head lm_head lm_predictions mask_predictions pooler pre_classifier "
    "pred_layer predictions qa_outputs score sequence_summary sop_classifier vocab_layer_norm "
    "vocab_projector vocab_transform".split()
)
# What architectures call their encoder, in the names of weights.
ARCHITECTURES = frozenset(
    "albert bert deberta distilbert electra ernie mobilebert mpnet roberta".split()
)
SHOWN = 3


class Loaded(NamedTuple):
    """What a library says of loading.

    Attributes:
        missing: Weights that the checkpoint lacks.
        unused: Weights that the model has no place for.
        other_shape: `name: stored shape instead of the needed one`.
    """

    missing: list[str]
    unused: list[str]
    other_shape: dict[str, str]

    @classmethod
    def from_info(cls, info: dict[str, Any]) -> Loaded:
        """Read `output_loading_info`, buffers left out."""
        shapes = {
            name: f"{name}: {tuple(stored)} instead of {tuple(needed)}"
            for name, stored, needed in sorted(info["mismatched_keys"])
        }
        missing, unused = (
            sorted(name for name in info[key] if not name.endswith(BUFFERS))
            for key in ("missing_keys", "unexpected_keys")
        )
        return cls([name for name in missing if name not in shapes], unused, shapes)


def weight_files(folder: Path) -> list[Path]:
    """Return a checkpoint's safetensors files, each readable.

    Raises:
        InputError: There are none, one is missing, or one holds something else.
    """
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        files = [folder / WEIGHTS]
    else:
        files = [folder / name for name in _shards(index)]
    if missing := [file.name for file in files if not file.is_file()]:
        raise InputError(
            f"{folder}: parts of the weights are missing, got {len(files) - len(missing)} of the "
            f"{len(files)} files that {INDEX} names, without {_some(missing)}; copy them too"
        )
    for file in files:
        stored_types(file)
    return files


def _shards(index: Path) -> list[str]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if not names or not all(isinstance(name, str) for name in names):
            raise TypeError("no file names")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{index}: not readable as an index of weights, got {type(error).__name__}; download "
            "or copy the checkpoint again"
        ) from error
    return sorted(names)


def stored_types(file: Path) -> dict[str, str]:
    """Return the name and number format of each weight in a file.

    Raises:
        InputError: The file is no whole safetensors file, or has no weights.
    """
    with file.open("rb") as stream:
        start = stream.read(40)
    if start.startswith(b"version https://git-lfs"):
        raise InputError(
            f"{file}: a pointer instead of the weights, got {file.stat().st_size} bytes of Git "
            "LFS; run `git lfs pull` in the folder it was cloned to, then copy it again"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            found = {name: str(opened.get_slice(name).get_dtype()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{file}: not readable as safetensors, got {file.stat().st_size:,} bytes "
            f"({str(error).splitlines()[0]}); download or copy it again"
        ) from error
    if not found:
        raise InputError(f"{file}: no weights, got an empty file of safetensors; copy it again")
    return found


def unwrapped(name: str, base: str) -> str:
    """Return a weight's name without what wrappers put before it.

    Args:
        name: As stored.
        base: What the architecture calls its encoder, as `bert`.
    """
    parts = [part for part in name.split(".") if part not in ANYWHERE]
    while len(parts) > 1 and parts[0] in LEADING and parts[0] != base:
        parts = parts[1:]
    while len(parts) > 1 and parts[0] == parts[1] == base:
        parts = parts[1:]
    return ".".join(parts)


def unwrapped_state(files: Iterable[Path], base: str) -> tuple[dict[str, Tensor], list[str]] | None:
    """Return the weights under their names without wrappers, and what was taken off.

    Returns:
        None where no name changes, or two would become one.
    """
    state: dict[str, Tensor] = {}
    taken: dict[str, None] = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (no mapping)
                short = unwrapped(name, base)
                if short in state:
                    return None
                state[short] = opened.get_tensor(name)
                if short != name:
                    taken[_taken_off(name, short)] = None
    return (state, list(taken)) if taken else None


def _taken_off(name: str, short: str) -> str:
    return name.removesuffix(short) if name.endswith(short) else "wrappers inside of names"


def is_head(name: str, model: PreTrainedModel) -> bool:
    """Return whether a weight of a model belongs to no layer of its encoder."""
    base = model.base_model_prefix
    inside = name.removeprefix(f"{base}.")
    if inside.split(".")[0] == "pooler":
        return True
    return model.base_model is not model and inside == name


def looks_like_encoder(name: str, model: PreTrainedModel) -> bool:
    """Return whether an unused weight is named as a part of this encoder is."""
    parts = set(name.split("."))
    return bool(parts & {key for key, _ in model.base_model.named_children()} - {"pooler"})


def encoder_problem(loaded: Loaded, model: PreTrainedModel, files: list[Path]) -> str:
    """Say what is wrong with an encoder's weights; nothing: all of them are there, and no more."""
    missing = [name for name in loaded.missing if not is_head(name, model)]
    shapes = [text for name, text in loaded.other_shape.items() if not is_head(name, model)]
    unused = [name for name in loaded.unused if looks_like_encoder(name, model)]
    if not (missing or shapes or unused):
        return _not_numbers(model, files)
    needed = sum(not is_head(name, model) for name, _ in model.named_parameters())
    got = [f"{len(missing)} of {needed} missing ({_some(missing)})"] if missing else []
    got += [f"{len(shapes)} of another shape ({_some(shapes)})"] if shapes else []
    unused = unused or unknown_unused(loaded, model)
    got += [f"{len(unused)} unused ({_some(unused)})"] if unused else []
    return (
        f"the encoder's weights are not those that config.json describes, got {', '.join(got)}; "
        f"{_cure(missing, unused, model)}"
    )


def _cure(missing: list[str], unused: list[str], model: PreTrainedModel) -> str:
    for name in missing:
        inside = name.removeprefix(f"{model.base_model_prefix}.")
        for other in unused:
            if other.endswith(f".{inside}"):
                return _cure_names(other.removesuffix(inside), model)
    depth = model.config.num_hidden_layers
    return (
        f"take config.json (model_type {model.config.model_type}, {depth} layers, "
        f"{model.config.hidden_size} wide) and weights from one checkpoint"
    )


def _cure_names(before: str, model: PreTrainedModel) -> str:
    parts, base = before.split("."), model.base_model_prefix
    if base not in parts and (others := [part for part in parts if part in ARCHITECTURES]):
        return (
            f"the weights are named as those of {others[-1]}, and config.json has model_type "
            f"{model.config.model_type}: take the config.json that was saved with them"
        )
    return f"take {before!r} off the names: save the model that it stands for"


def _not_numbers(model: PreTrainedModel, files: list[Path]) -> str:
    types = {name: kind for file in files for name, kind in stored_types(file).items()}
    whole = [name for name, kind in types.items() if kind not in FLOATS]
    if whole := [name for name in whole if not name.endswith(BUFFERS)]:
        return (
            f"the weights are no floating-point numbers, got {types[whole[0]]} in {len(whole)} of "
            f"{len(types)} ({_some(whole)}); save the model before it is quantised"
        )
    if none := [n for n, value in model.base_model.named_parameters() if not value.numel()]:
        return (
            f"weights without a row cannot be looked up in, got {_some(none)} of shape "
            f"{tuple(model.base_model.get_parameter(none[0]).shape)}; a table of token types has "
            "one at least: store it as a row of zeros, with type_vocab_size 1 in config.json"
        )
    if wrong := not_finite(model):
        return wrong
    empty = [n for n, value in model.base_model.named_parameters() if _is_empty_matrix(n, value)]
    if empty:
        return (
            f"the weights are not trained ones, got nothing but zeros in {len(empty)} matrices "
            f"({_some(empty)}); save or copy the checkpoint again"
        )
    return ""


def not_finite(model: PreTrainedModel) -> str:
    """Return which weights hold NaN or infinity and what to do, as text; empty if none does."""
    wrong = [n for n, value in model.named_parameters() if not bool(value.isfinite().all())]
    if not wrong:
        return ""
    return (
        f"the weights are not finite, got NaN or infinity in {len(wrong)} of them "
        f"({_some(wrong)}); take a checkpoint from before the training broke down"
    )


def _is_empty_matrix(name: str, weight: Tensor) -> bool:
    """Return whether a layer's matrix is all zeros; embeddings that nothing uses may be.

    So may biases, of which ConvBERT has some with a second dimension of 1.
    """
    named = "embedding" in name or name.endswith("bias")
    return weight.ndim > 1 and not named and not bool(weight.any())


def unknown_unused(loaded: Loaded, model: PreTrainedModel) -> list[str]:
    """Return unused weights that are of no head one knows, to be said."""
    return [
        name
        for name in loaded.unused
        if not HEADS & set(name.split(".")[:2]) and not looks_like_encoder(name, model)
    ]


def lacks_head(loaded: Loaded, model: PreTrainedModel) -> list[str]:
    """Return the weights that a checkpoint lacks for the model's head."""
    return [name for name in [*loaded.missing, *loaded.other_shape] if is_head(name, model)]


def _some(names: list[str]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
