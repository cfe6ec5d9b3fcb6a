"""An ONNX classifier in int8: weights, embeddings and the products' inputs; not the classifier.

Embeddings are most of a small student, so they are quantized too. The last product decides by
small differences, costs nothing, and stays in float32.
"""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from tinybert.deployment.onnx_file import quiet
from tinybert.deployment.sections import Calibration

QUANTIZED = ["MatMul", "Gemm", "Gather"]
CLASSIFIER = (
    "classifier",
    "pre_classifier",
    "qa_outputs",
)  # the first parts of the last layers' names
VNNI = ("avx512_vnni", "avx_vnni")  # instructions whose sums of int8 products do not overflow
METHODS = {
    "static_minmax": CalibrationMethod.MinMax,
    "static_percentile": CalibrationMethod.Percentile,
}


def processor_flags() -> list[str]:
    """Return which instructions for int8 and bfloat16 the processor says it has."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    wanted = ("vnni", "amx", "bf16", "avx2", "avx512f", "asimddp", "i8mm")
    return sorted(flag for flag in flags.split() if any(name in flag for name in wanted))


def sums_overflow(flags: Sequence[str]) -> bool:
    """Return whether products of int8 may overflow, so that weights need a bit less.

    On x86 without VNNI two products are added in 16 bits.
    """
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return is_x86 and not set(flags) & set(VNNI)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Sequence[dict[str, Any]]) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


def quantize(
    source: Path,
    target: Path,
    calibration: Calibration,
    batches: Sequence[dict[str, Any]],
    reduce_range: bool,
) -> None:
    """Write an ONNX classifier in int8.

    Args:
        source: In float32.
        target: To write.
        calibration: How the activations' ranges are found.
        batches: For static calibrations: inputs by name, all of one length, since the ranges are
            taken over arrays of one shape.
        reduce_range: Whether weights take 7 bits; see `sums_overflow`.
    """
    options: dict[str, Any] = {
        "weight_type": QuantType.QInt8,
        "op_types_to_quantize": QUANTIZED,
        "per_channel": True,
        "reduce_range": reduce_range,
        "nodes_to_exclude": _classifier_nodes(source),
    }
    with quiet():  # the advice to prepare the graph first fails for batches of any size
        if calibration == "dynamic":
            quantize_dynamic(source, target, **options)
            return
        quantize_static(
            source,
            target,
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            calibrate_method=METHODS[calibration],
            **options,
        )


def _classifier_nodes(file: Path) -> list[str]:
    """Return the nodes of the last layers: those that read their weights or give what these add to.

    A product for each token has lost its weights' name when it was transposed; its bias has kept
    its own, in the sum behind it.
    """
    graph = onnx.load(file, load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}
    named = [
        node for node in graph.node if any(name.split(".")[0] in CLASSIFIER for name in node.input)
    ]
    sums = [node for node in named if node.op_type == "Add"]
    products = [makers[name] for node in sums for name in node.input if name in makers]
    names = [node.name for node in [*named, *products]]
    return [*names, *(f"{name}_MatMul" for name in names)]  # what onnxruntime makes of a Gemm
