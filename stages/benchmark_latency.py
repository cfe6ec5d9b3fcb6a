"""Measure a system's size, FLOPs and speed beside its teacher's.

python -m stages.benchmark_latency SYSTEM
"""

from pathlib import Path

from stages import run
from tinybert.core.errors import InputError
from tinybert.core.outputs import replace_file, write_json
from tinybert.core.settings.reader import read_param, read_section
from tinybert.encoders.checkpoints import load_classifier
from tinybert.evaluation.latency import (
    choose_device,
    describe,
    describe_protocol,
    measure_grid,
    num_cells,
)
from tinybert.evaluation.sections import BenchmarkLatencySettings


def benchmark_latency(
    student: Path,
    teacher: Path,
    output: Path,
    system: str,
    settings: BenchmarkLatencySettings,
    seed: int,
) -> float:
    """Measure student and teacher interleaved and write what was found.

    Args:
        student: Folder of a classifier.
        teacher: Folder of the classifier it was distilled from.
        output: The JSON file to write.
        system: Name of the student's system.
        settings: What is measured.
        seed: Seed of the random tokens.

    Returns:
        The speed-up of the grid's first cell.
    """
    from rich.progress import Progress

    models = {"student": load_classifier(student), "teacher": load_classifier(teacher)}
    device = choose_device(settings.device)
    found: dict[str, object] = {
        "system": system,
        "protocol": describe_protocol(settings, device),
        "student": describe(models["student"], student),
        "teacher": describe(models["teacher"], teacher),
    }
    with Progress(transient=True, auto_refresh=False) as progress:  # no thread beside what is timed
        bar = progress.add_task(f"latency of {system}", total=num_cells(settings))

        def advance() -> None:
            progress.update(bar, advance=1, refresh=True)

        cells = measure_grid(**models, grid=settings, device=device, seed=seed, advance=advance)
    found["cells"] = cells
    with replace_file(output) as file:
        write_json(found, file)
    return cells[0]["speedup"]


def main(system: str) -> str:
    """Measure a system on the first of the tasks: the classifier's width does not show."""
    settings = read_section("benchmark_latency", BenchmarkLatencySettings)
    tasks = read_param("tasks", list[str])
    if not tasks:
        raise InputError("params.yaml: tasks: at least one is needed, got none; name a task")
    output = Path("reports/latency") / f"{system}.json"
    speedup = benchmark_latency(
        Path("models/prediction") / system / tasks[0],
        Path("models/teacher") / tasks[0],
        output,
        system,
        settings,
        read_param("seed", int),
    )
    grid = (settings.batch_sizes[0], settings.sequence_lengths[0], settings.precision)
    return (
        f"measured {system}, {speedup:.1f}x faster than its teacher at batch size {grid[0]}, "
        f"{grid[1]} tokens, {grid[2]}, in {output}"
    )


if __name__ == "__main__":
    run(main)
