"""Measure a system's size, FLOPs, memory and speed beside its teacher's, in each engine.

python -m stages.benchmark_latency SYSTEM
"""

from functools import partial
from pathlib import Path
from typing import Any

from stages import run
from tinybert.deployment.engines import FILES, TYPES, onnx_engine, torch_engine
from tinybert.deployment.gate import megabytes
from tinybert.deployment.latency import (
    TEACHER,
    Draw,
    choose_device,
    describe,
    describe_protocol,
    measure_grid,
    num_cells,
    require_lengths,
)
from tinybert.deployment.memory import peak_megabytes
from tinybert.deployment.sections import TASK_ROWS, BenchmarkLatencySettings, EngineName
from tinybert.encoders.checkpoints import load_classifier, load_tokenizer
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file, write_json
from tinybert.settings.reader import read_param, read_section, read_task
from tinybert.tasks.aligned_rows import encode_beside
from tinybert.tasks.task import DEV, read_named_info, read_split
from tinybert.tasks.task_file import TaskFile
from tinybert.text.encoded import EncodedRows

# Of the teacher's engine, by the precision that the profile names.
TEACHERS: dict[str, EngineName] = {"fp32": "pytorch_fp32", "bf16": "pytorch_bf16"}


def benchmark_latency(
    student: Path,
    teacher: Path,
    exported: Path,
    output: Path,
    system: str,
    settings: BenchmarkLatencySettings,
    seed: int,
    rows: EncodedRows | None = None,
) -> float:
    """Measure student and teacher interleaved and write what was found.

    Args:
        student: Folder of a classifier.
        teacher: Folder of the classifier it was distilled from.
        exported: Folder of the student as ONNX; empty where it is not exported.
        output: The JSON file to write.
        system: Name of the student's system.
        settings: What is measured.
        seed: Seed of the random tokens, and of the rows drawn.
        rows: The task's, where the settings name them.

    Returns:
        The speed-up of the grid's first cell.
    """
    from rich.progress import Progress

    models = {"student": load_classifier(student), TEACHER: load_classifier(teacher)}
    require_lengths(models["student"], models[TEACHER], settings)
    device, at_precision = choose_device(settings.device), TEACHERS[settings.precision]
    makers: dict[str, Any] = {}
    places: dict[str, tuple[str, Path]] = {}
    for name in settings.engines:
        if name in TYPES:
            engine = torch_engine(models["student"], name, device)
            makers[name], places[name] = lambda _, engine=engine: engine, (name, student)
        elif (exported / FILES[name]).is_file() and device.type == "cpu":
            file = exported / FILES[name]
            makers[name], places[name] = partial(onnx_engine, file), (name, file)
    of_teacher = torch_engine(models[TEACHER], at_precision, device)
    makers[TEACHER], places[TEACHER] = lambda _: of_teacher, (at_precision, teacher)
    found: dict[str, object] = {
        "system": system,
        "protocol": describe_protocol(settings, device),
        "student": describe(models["student"], student),
        "teacher": describe(models[TEACHER], teacher),
    }
    config = models["student"].config
    num_pieces = min(model.config.vocab_size for model in models.values())
    draw = Draw(num_pieces, seed, rows, config.pad_token_id or 0)
    with Progress(transient=True, auto_refresh=False) as progress:  # no thread beside what is timed
        bar = progress.add_task(f"latency of {system}", total=num_cells(settings))

        def advance() -> None:
            progress.update(bar, advance=1, refresh=True)

        cells = measure_grid(makers, draw, settings, advance)
    longest = max(length for length in settings.sequence_lengths if isinstance(length, int))
    peaks = peak_megabytes(places, max(settings.batch_sizes), longest, device.type)
    sizes = {name: megabytes(path) for name, (_, path) in places.items() if path.is_file()}
    found["engines"] = {
        name: {"peak_mb": peak, "size_mb": sizes.get(name)} for name, peak in peaks.items()
    }
    found["cells"] = cells
    with replace_file(output) as file:
        write_json(found, file)
    return float(cells[0]["speedup"])


def main(system: str) -> str:
    """Measure a system on the first of the tasks: the classifier's width does not show."""
    settings = read_section("benchmark_latency", BenchmarkLatencySettings)
    tasks = read_param("tasks", list[str])
    if not tasks:
        raise InputError("params.yaml: tasks: at least one is needed, got none; name a task")
    task = tasks[0]
    student, output = Path("models/prediction") / system / task, Path("reports/latency")
    rows = None
    if TASK_ROWS in settings.sequence_lengths:
        folder = Path("data/tasks") / task
        encoding = read_task(task, TaskFile).encoding(read_named_info(folder, task))
        tokenizers = load_tokenizer(student), load_tokenizer(Path("models/teacher") / task)
        rows = encode_beside(read_split(folder, DEV), *tokenizers, encoding, whole=False)
    speedup = benchmark_latency(
        student,
        Path("models/teacher") / task,
        Path("models/onnx") / system / task,
        output / f"{system}.json",
        system,
        settings,
        read_param("seed", int),
        rows,
    )
    grid = (settings.batch_sizes[0], settings.sequence_lengths[0], settings.engines[0])
    return (
        f"measured {system}, {speedup:.1f}x faster than its teacher at batch size {grid[0]}, "
        f"{grid[1]} tokens, {grid[2]}, in {output / system}.json"
    )


if __name__ == "__main__":
    run(main)
