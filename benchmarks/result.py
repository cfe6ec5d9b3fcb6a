"""One measurement: its floor, its JSON file, its line in the table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import MatrixRate, peak_gigabytes
from tinybert.runtime.outputs import write_json
from tinybert.runtime.precision import computing_device

COLUMNS = {  # of the table, and the keys in a JSON file
    "time s": "seconds",
    "floor s": "floor_seconds",
    "floor/time": "floor_share",
    "at usual rate": "usual_share",
    "tokens/s": "tokens_per_second",
    "rows/s": "examples_per_second",
    "peak GB": "peak_gigabytes",
}


@dataclass(frozen=True)
class Result:
    """What was done in how much time, against how much it would take at the matrix rate.

    Attributes:
        subject: What was measured.
        case: Shapes, data and mode.
        seconds: For the work.
        flops: Floating-point operations on real tokens; None where there are none to speak of.
        rate: Matrix rate of this machine in the dtype used, in the same run.
        tokens: Real tokens worked on.
        examples: Rows worked on.
        peak_gigabytes: Of the process, or of the GPU, so far; or what is given.
        more: Further figures.
    """

    subject: str
    case: str
    seconds: float
    flops: float | None = None
    rate: MatrixRate | None = None
    tokens: int | None = None
    examples: int | None = None
    peak_gigabytes: float = field(default_factory=lambda: peak_gigabytes(computing_device()))
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def floor(self) -> float | None:
        """Seconds the operations take at the matrix rate."""
        if self.flops is None or self.rate is None:
            return None
        return self.flops / self.rate.best

    def as_json(self) -> dict[str, Any]:
        """Return the fields with what follows from them."""
        floor, usual = self.floor, None
        if self.flops is not None and self.rate is not None:
            usual = self.flops / self.rate.usual / self.seconds
        own = {name: value for name, value in vars(self).items() if name != "rate"}
        return own | {
            "matrix_rate": None if self.rate is None else self.rate.best,
            "usual_matrix_rate": None if self.rate is None else self.rate.usual,
            "usual_share": usual,
            "floor_seconds": floor,
            "floor_share": None if floor is None else floor / self.seconds,
            "tokens_per_second": None if self.tokens is None else self.tokens / self.seconds,
            "examples_per_second": None if self.examples is None else self.examples / self.seconds,
        }


def write(results: Sequence[Result], about: dict[str, object], file: Path) -> None:
    """Write the results of one subject."""
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {"machine": about, "results": [result.as_json() for result in results]}
    write_json(values, file)


def show(found: Sequence[dict[str, Any]], console: Console | None = None) -> None:
    """Print one line per result: entries of `results` in the JSON files."""
    table = Table(title="time against the floor: FLOPs on real tokens at the matrix rate")
    table.add_column("subject")
    table.add_column("case", overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    table.add_column("more", overflow="fold")
    for one in found:
        table.add_row(
            one["subject"],
            one["case"],
            *(_number(one[key]) for key in COLUMNS.values()),
            ", ".join(f"{key} {_number(value)}" for key, value in one["more"].items()),
        )
    (console or Console()).print(table)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
