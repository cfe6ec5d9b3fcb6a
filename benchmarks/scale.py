"""Calculate what general distillation of so many tokens takes on so many GPUs.

python -m benchmarks.scale --tokens 10e9 --gpus 1,8,64 --rate 693e12 --share 0.4 --launch-ms 32
python -m benchmarks.scale --results reports/benchmarks/general_step-bert.json --gpus 1

Nothing is measured here: a step's time follows from its operations, the rate that a measured step
reached, the shortest time a step was measured to take, and the bytes of gradients sent. Steps of
equal length, no stragglers, and reading of blocks hidden behind the step are assumed.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import flops, shapes
from tinybert.distillation.teacher import Teacher
from tinybert.runtime.errors import InputError, ends_with_its_lines

GRADIENT_BYTES = 4  # float32, also where products are bfloat16
NODE = 8  # GPUs that share fast links


@dataclass(frozen=True)
class Work:
    """What a row costs, and what a step sends.

    Attributes:
        teacher: Operations of a row's forward pass in the teacher.
        student: Of its forward and backward pass in student and projections.
        gradients: Bytes of all gradients.
        length: Tokens of a row.
    """

    teacher: float
    student: float
    gradients: int
    length: int


@dataclass(frozen=True)
class Machine:
    """What was measured or is assumed of GPUs and links.

    Attributes:
        rate: Operations a second of large matrix products, measured.
        share: Of that rate which a step of many rows reaches.
        launch: Least seconds of a step: those the processor needs to launch its kernels.
        link: Bytes a second each way between GPUs of a node.
        network: Bytes a second each way that a node sends to others.
        overlap: Share of the sending that the backward pass hides.
    """

    rate: float
    share: float
    launch: float
    link: float
    network: float
    overlap: float

    def computing(self, work: Work, rows: float) -> float:
        """Return the seconds of a GPU's rows without sending."""
        operations = rows * (work.teacher + work.student)
        return max(self.launch, operations / (self.rate * self.share))

    def sending(self, work: Work, gpus: int) -> float:
        """Return the seconds in which a ring sums gradients [Patarasuk and Yuan 2009].

        Each member sends 2 (n - 1) / n of all bytes; a ring over nodes is as fast as their links.
        """
        speed = self.link if gpus <= NODE else min(self.link, self.network)
        return 2 * (gpus - 1) / gpus * work.gradients / speed


@dataclass(frozen=True)
class Forecast:
    """What a number of GPUs needs."""

    gpus: int
    rows: int
    steps: int
    computing: float
    sending: float
    step: float

    @property
    def hours(self) -> float:
        """Of the whole training."""
        return self.steps * self.step / 3600


def work_of(name: str, length: int) -> Work:
    """Count a row's operations and a step's gradients for shapes of `shapes.SHAPES`."""
    teacher, student = shapes.configs(name)
    model = shapes.layer_student(name, Teacher(shapes.encoder(teacher), None))
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    return Work(
        flops.forward(teacher, [length]),
        flops.layers_matched(student, teacher, [length]),
        trained * GRADIENT_BYTES,
        length,
    )


def forecast(work: Work, machine: Machine, gpus: int, rows: int, tokens: float) -> Forecast:
    """Calculate a training.

    Args:
        work: Of a row and a step.
        machine: Of each GPU and the links.
        gpus: How many.
        rows: Of a step, over all GPUs.
        tokens: To be trained on, each counted as often as it is seen.
    """
    computing = machine.computing(work, rows / gpus)
    sending = machine.sending(work, gpus)
    step = computing + (1 - machine.overlap) * sending
    return Forecast(gpus, rows, math.ceil(tokens / (rows * work.length)), computing, sending, step)


def read_machine(given: argparse.Namespace) -> Machine:
    """Take rate and share from the options, or else from a results file.

    Raises:
        InputError: One is in neither, or is no such number.
    """
    found = {"rate": given.rate, "share": given.share}
    if given.results is not None:
        one = _first_result(given.results)
        measured = {"rate": one.get("usual_matrix_rate"), "share": one.get("usual_share")}
        found = {name: found[name] or measured[name] for name in found}
    for name, value in found.items():
        if not value or value < 0 or (name == "share" and value > 1):
            right = "--rate 693e12 --share 0.4, or --results with a measured general step"
            raise InputError(f"--{name}: no such {name}, got {value}; write {right}")
    if not 0 <= given.overlap <= 1:
        raise InputError(f"--overlap: is no share, got {given.overlap}; write 0 to 1")
    launch = given.launch_ms / 1e3
    links = (given.link, given.network, given.overlap)
    return Machine(found["rate"], found["share"], launch, *links)


def _first_result(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["results"][0])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"--results: {file} holds no result, got {type(error).__name__}; "
            "`python -m benchmarks general_step` writes one"
        ) from None


def show(work: Work, machine: Machine, found: Sequence[Forecast], tokens: float) -> None:
    """Print the forecasts below all that they assume."""
    console = Console(highlight=False)
    whole = work.teacher + work.student
    console.print(
        f"{tokens:.3g} tokens in rows of {work.length}; a row's {whole / 1e9:.2f} GFLOP: teacher "
        f"{work.teacher / whole:.0%}, student forward and backward {work.student / whole:.0%}; "
        f"gradients {work.gradients / 1e6:.1f} MB a step\n"
        f"a GPU: {machine.rate / 1e12:.4g} TFLOP/s measured in large products, of which a step "
        f"reaches {machine.share:.0%}, and takes {machine.launch * 1e3:.1f} ms at least; links "
        f"{machine.link / 1e9:.0f} GB/s in a node of {NODE}, {machine.network / 1e9:.0f} GB/s "
        f"between nodes; {machine.overlap:.0%} of the sending hidden"
    )
    columns = ("GPUs", "rows a step", "steps", "computing ms", "sending ms", "step ms")
    table = Table(*columns, "tokens/s", "hours", "GPU hours", "lost to sending")
    for each in found:
        table.add_row(
            *(f"{each.gpus}", f"{each.rows:,}", f"{each.steps:,}"),
            *(f"{value * 1e3:.1f}" for value in (each.computing, each.sending, each.step)),
            *(f"{each.rows * work.length / each.step:,.0f}", f"{each.hours:.2f}"),
            *(f"{each.hours * each.gpus:.1f}", f"{1 - each.computing / each.step:.1%}"),
        )
    console.print(table)


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    found.add_argument("--tokens", type=float, default=10e9)
    found.add_argument("--gpus", default="1,8,64", help="as in 1,8,64")
    found.add_argument("--rows", type=int, default=256, help="of each GPU's step")
    found.add_argument("--all-rows", type=int, help="of a step over all GPUs, instead of --rows")
    found.add_argument("--length", type=int, default=128, help="tokens of a row")
    found.add_argument("--shapes", choices=list(shapes.SHAPES), default="bert")
    found.add_argument("--results", type=Path, help="of `python -m benchmarks general_step`")
    found.add_argument("--rate", type=float, help="operations a second of large products")
    found.add_argument("--share", type=float, help="of the rate that a step reaches")
    found.add_argument("--launch-ms", type=float, default=0.0, help="least time of a step")
    found.add_argument("--link", type=float, default=450e9, help="bytes/s between a node's GPUs")
    found.add_argument("--network", type=float, default=50e9, help="bytes/s between nodes")
    found.add_argument("--overlap", type=float, default=0.0, help="share of the sending hidden")
    return found


def read_gpus(text: str) -> list[int]:
    """Read numbers of GPUs.

    Raises:
        InputError: One is no number, or none.
    """
    try:
        found = [int(each) for each in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise InputError(f"--gpus: are no numbers of GPUs, got {text}; write 1,8,64")
    return found


def main() -> None:
    """Read the command line and print the forecasts."""
    given = parser().parse_args()
    if min(given.tokens, given.rows, given.all_rows or 1, given.length) <= 0:
        raise InputError("--tokens, --rows, --length: must be above 0, got less; write --rows 256")
    machine, work = read_machine(given), work_of(given.shapes, given.length)
    found = [
        forecast(work, machine, gpus, given.all_rows or given.rows * gpus, given.tokens)
        for gpus in read_gpus(given.gpus)
    ]
    show(work, machine, found, given.tokens)


if __name__ == "__main__":
    with ends_with_its_lines():
        main()
