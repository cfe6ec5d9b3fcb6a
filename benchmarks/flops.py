"""Floating-point operations on real tokens, by the convention of `tinybert.encoders.cost`."""

from collections import Counter
from collections.abc import Iterable

from transformers import BertConfig

from tinybert.encoders.cost import encoder_flops

BACKWARD = 3  # forward and backward together, times forward


def forward(config: BertConfig, lengths: Iterable[int]) -> float:
    """Count an encoder's forward pass over rows of these lengths."""
    shape = (config.num_hidden_layers, config.hidden_size, config.intermediate_size)
    return float(
        sum(count * encoder_flops(*shape, length) for length, count in Counter(lengths).items())
    )


def projections(student: BertConfig, teacher: BertConfig, num_tokens: int) -> float:
    """Count W_e and one W_h per layer, forward."""
    matrices = student.num_hidden_layers + 1
    return 2.0 * float(matrices * student.hidden_size * teacher.hidden_size) * num_tokens


def layers_matched(student: BertConfig, teacher: BertConfig, lengths: list[int]) -> float:
    """Count what a student and its projections cost in a step that matches layers."""
    forwards = forward(student, lengths) + projections(student, teacher, sum(lengths))
    return BACKWARD * forwards


def masked_head(config: BertConfig, num_places: int) -> float:
    """Count a masked-word head at so many places, forward."""
    width = int(config.hidden_size)
    return 2.0 * num_places * width * (width + int(config.vocab_size))
