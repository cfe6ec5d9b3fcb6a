"""Which teacher layer each student layer learns from: n = g(m) (section 3.1).

Layers count from 1, as in the paper; layer 0 is the embedding output, and g(0) = 0.
"""

from collections.abc import Sequence
from typing import Literal

from tinybert.runtime.errors import InputError

LayerMap = Literal["uniform", "top", "bottom"] | list[int]


def teacher_layers(layer_map: LayerMap, num_student: int, num_teacher: int) -> list[int]:
    """Return [g(1), ..., g(M)].

    Args:
        layer_map: "uniform" g(m) = m N / M, "top" g(m) = m + N - M, "bottom" g(m) = m (the paper's
            table 5), or the layers written out. Where M does not divide N, uniform rounds up; a
            deeper student meets each teacher layer several times.
        num_student: M.
        num_teacher: N.

    Raises:
        InputError: The map does not fit the two models.
    """
    if num_student > num_teacher and layer_map in ("top", "bottom"):
        raise InputError(
            f"layer_map: {layer_map!r} needs at most as many student layers as the teacher has, "
            f"got {num_student} and {num_teacher}; write uniform, or the map out"
        )
    if layer_map == "uniform":
        # Ceiling, so that the last student layer always meets the last teacher layer.
        return [-(-m * num_teacher // num_student) for m in range(1, num_student + 1)]
    if layer_map == "top":
        return [m + num_teacher - num_student for m in range(1, num_student + 1)]
    if layer_map == "bottom":
        return list(range(1, num_student + 1))
    return _written_out(layer_map, num_student, num_teacher)


def _written_out(layers: Sequence[int], num_student: int, num_teacher: int) -> list[int]:
    if len(layers) != num_student:
        raise InputError(
            f"layer_map: one teacher layer per student layer is needed, got {len(layers)} for "
            f"{num_student} student layers; write {num_student} numbers from 1 to {num_teacher}"
        )
    outside = [layer for layer in layers if not 1 <= layer <= num_teacher]
    if outside:
        raise InputError(
            f"layer_map: the teacher has layers 1 to {num_teacher}, got "
            f"{', '.join(map(str, outside))}; layers count from 1"
        )
    return list(layers)
