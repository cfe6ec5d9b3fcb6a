"""Which architectures a teacher may have, and a probe of those that nobody named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinybert.runtime.errors import InputError, in_one_line

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

# Known to be text encoders whose layers can be read; others are probed when they are loaded.
ENCODERS = frozenset(
    "albert bert camembert deberta-v2 distilbert electra ernie mobilebert modernbert mpnet roberta "
    "xlm-roberta".split()
)
WHAT_FITS = (
    "take an encoder that transformers has with a masked-word and a sequence-classification model, "
    "as bert, roberta, deberta-v2 or modernbert"
)
PROBED_TOKENS = 16


def require_kind(config: dict[str, Any], place: Path) -> None:
    """Check that an architecture is an encoder of transformers' own code.

    Args:
        config: Of config.json.
        place: That file.

    Raises:
        InputError: It is none, or its code comes with the checkpoint, which is never run.
    """
    kind = str(config.get("model_type"))
    if kind not in ENCODERS:
        from transformers import AutoConfig
        from transformers.models.auto import configuration_auto, modeling_auto

        refused = f"{place}: the checkpoint is no text encoder, got model_type {kind!r}"
        known = configuration_auto.CONFIG_MAPPING_NAMES
        if kind not in known and config.get("auto_map"):
            raise InputError(
                f"{place}: the architecture is code of the checkpoint's own, got model_type "
                f"{kind!r} with auto_map, and such code is never run; {WHAT_FITS}"
            )
        heads = (
            modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
            modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        )
        if not all(kind in names for names in (known, *heads)):
            raise InputError(f"{refused}; {WHAT_FITS}")
        if AutoConfig.for_model(kind).is_encoder_decoder:
            raise InputError(f"{refused}, an encoder with a decoder; {WHAT_FITS}")
    if config.get("is_decoder"):
        raise InputError(
            f"{place}: the checkpoint reads one way, got model_type {kind!r} with is_decoder true; "
            f"{WHAT_FITS}"
        )


def require_readable(model: PreTrainedModel, place: Path) -> None:
    """Check by a small batch that an encoder gives its layers' states and reads both ways.

    Raises:
        InputError: It does not.
    """
    import torch

    kind, depth = model.config.model_type, model.config.num_hidden_layers
    ids = torch.arange(PROBED_TOKENS)[None] % (model.config.vocab_size // 2)
    ids = ids + model.config.vocab_size // 2 - 1  # special tokens are the first ones
    changed = ids.clone()
    changed[0, -1] = ids[0, 0]
    was_training = model.training
    try:
        with torch.no_grad():
            first, second = (_states(model.eval(), each) for each in (ids, changed))
    except Exception as error:  # an architecture's code raises whatever it does
        shown = f"{type(error).__name__}: {in_one_line(error)[:100]}"
        raise InputError(
            f"{place}: a small batch does not run through model_type {kind!r}, got {shown}; "
            f"{WHAT_FITS}"
        ) from error
    finally:
        model.train(was_training)
    shapes = [tuple(state.shape[:2]) for state in first]
    if shapes != [tuple(ids.shape)] * (depth + 1):
        raise InputError(
            f"{place}: a teacher must give a state of each token after each of its {depth} layers, "
            f"got {len(first)} of model_type {kind!r}, of {len(set(shapes))} lengths; {WHAT_FITS}"
        )
    if torch.equal(first[-1][0, 0], second[-1][0, 0]):
        raise InputError(
            f"{place}: a teacher must read both ways, got model_type {kind!r}, whose first token "
            f"does not see the last one; {WHAT_FITS}"
        )


def _states(model: PreTrainedModel, ids: Any) -> Any:
    import torch

    found = model.base_model(
        input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
    )
    return found.hidden_states or ()
