"""What a model costs: parameters, and floating-point operations of one forward pass."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, PreTrainedConfig

from tinybert.runtime.errors import in_one_line

REFERENCE_LENGTH = 128  # tokens; the paper states every FLOPs figure at this length


def num_parameters(model: nn.Module) -> int:
    """Count parameters; one that is shared by two layers counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def encoder_flops(
    num_hidden_layers: int,
    hidden_size: int,
    intermediate_size: int,
    sequence_length: int = REFERENCE_LENGTH,
    batch_size: int = 1,
) -> int:
    """Count the operations of a Transformer encoder [TinyBERT, Table 1].

    Two operations per multiply-add of the matrix products: Q, K, V and output, the two
    feed-forward layers, QK^T and AV. Embeddings, pooler and classifier are left out, as are
    biases, softmax and LayerNorm.

    Returns:
        Floating-point operations of one forward pass.
    """
    projections = 4 * sequence_length * hidden_size**2
    feed_forward = 2 * sequence_length * hidden_size * intermediate_size
    attention = 2 * sequence_length**2 * hidden_size
    return 2 * batch_size * num_hidden_layers * (projections + feed_forward + attention)


def model_flops(config: PreTrainedConfig, sequence_length: int = REFERENCE_LENGTH) -> int | None:
    """Count the operations of any encoder for one row, by the convention of `encoder_flops`.

    BERT's come from the formula. Another architecture's matrix products are counted while an
    empty copy of its encoder runs: that costs no memory, and bottlenecks or shared layers need no
    formula of their own.

    Returns:
        None where an architecture does not run empty, which is printed.
    """
    if config.model_type == "bert":
        return encoder_flops(
            config.num_hidden_layers, config.hidden_size, config.intermediate_size, sequence_length
        )
    try:
        return counted_flops(config, sequence_length)
    except Exception as error:  # a count is no reason to end a run, whatever a forward pass does
        reason = in_one_line(error)[:100]
        print(f"operations of {config.model_type} cannot be counted: {reason}", flush=True)
        return None


def printed_flops(
    config: PreTrainedConfig, flops: int | None, sequence_length: int = REFERENCE_LENGTH
) -> int | None:
    """Count the operations as the paper prints them [TinyBERT, Table 1].

    Its 22.5, 11.3, 7.6 and 3.4 G are `model_flops` and one product of the width with itself at
    each token, as if the pooler read every token and not the first alone. The 1.2 G printed for
    TinyBERT4 are 1.27 by this count.

    Args:
        config: The encoder's.
        flops: Of `model_flops`; None, which it has said, gives None.
        sequence_length: Tokens.
    """
    pooler = 2 * sequence_length * int(config.hidden_size) ** 2
    return None if flops is None else flops + pooler


def counted_flops(config: PreTrainedConfig, sequence_length: int) -> int:
    """Count the matrix products of an architecture's encoder while it runs on no data."""
    make: Callable[..., nn.Module] = AutoModel.from_config
    long_enough = copy.deepcopy(config)  # positions cost nothing, and 2 are RoBERTa's padding
    long_enough.max_position_embeddings = max(
        getattr(config, "max_position_embeddings", 0), sequence_length + 2
    )
    with torch.device("meta"):
        model = make(long_enough).eval()
        tokens = torch.ones(1, sequence_length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=tokens)
    counts = counter.get_flop_counts()
    encoder = f"{type(model).__name__}.encoder"
    # An architecture without a part of that name, as DistilBERT, has no pooler to leave out.
    return int(sum(counts[encoder if encoder in counts else "Global"].values()))


def weights_megabytes(folder: Path) -> float:
    """Return the size of a checkpoint's weight files on disk, in MB of 10^6 bytes."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
