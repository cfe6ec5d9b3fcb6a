"""What is found by no name: an encoder's layers, the maps before attention, a head's last layer."""

from torch import nn
from transformers import PreTrainedModel

# What architectures call a layer's maps to queries, keys and values.
MAP_NAMES = (
    ("query", "key", "value"),
    ("query_proj", "key_proj", "value_proj"),  # DeBERTa-v2 and v3
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),  # DistilBERT, XLM, FlauBERT
    ("q", "k", "v"),  # MPNet
)
Maps = tuple[nn.Module, nn.Module, nn.Module]


def layer_list(model: PreTrainedModel) -> nn.ModuleList | None:
    """Return the first list of as many modules as the encoder has layers, or None."""
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    return None


def attention_maps(model: PreTrainedModel) -> list[Maps] | None:
    """Return each layer's maps to queries, keys and values; None where none are known by name."""
    layers = layer_list(model)
    found = [_maps_within(layer) for layer in layers or ()]
    return [maps for maps in found if maps] if found and all(found) else None


def last_layer(model: PreTrainedModel) -> nn.Linear:
    """Return the layer of a task's head that gives its outputs, whatever its name."""
    encoder = {id(module) for module in model.base_model.modules()}
    return next(
        module
        for module in reversed(list(model.modules()))
        if isinstance(module, nn.Linear)
        and id(module) not in encoder
        and module.out_features == model.config.num_labels
    )


def _maps_within(layer: nn.Module) -> Maps | None:
    for module in layer.modules():
        for names in MAP_NAMES:
            parts = [getattr(module, name, None) for name in names]
            maps = [part for part in parts if isinstance(part, nn.Linear | nn.Conv1d)]
            if len(maps) == len(names):
                return maps[0], maps[1], maps[2]
    return None
