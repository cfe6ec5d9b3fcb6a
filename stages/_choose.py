"""Choose a student by milliseconds: shapes fitted in closed form, scored, timed; one is written.

python -m stages._choose --task TASK --ms 5 [--threads 1] [--length 64] [--engine onnx_int8]
    [--system closed_form_mini] [--name NAME]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

import pandas as pd
import yaml
from rich.progress import Progress

from tinybert.deployment.choosing import (
    Candidate,
    Judge,
    candidate_shapes,
    choose_candidate,
    measure_shapes,
    require_reachable,
    shape_name,
    system_file,
)
from tinybert.deployment.sections import EngineName
from tinybert.encoders.checkpoints import load_tokenizer
from tinybert.encoders.classifier import task_classifier
from tinybert.encoders.positions import require_positions
from tinybert.reports.front import pareto_front
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.runtime.outputs import replace_file
from tinybert.runtime.precision import computing_device
from tinybert.settings.layer_map import LayerMap
from tinybert.settings.names import require_names
from tinybert.settings.reader import (
    named_file,
    read_param,
    read_system,
    read_task,
    read_yaml,
)
from tinybert.settings.systems import read_system_file
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.phase_rows import read_own_rows
from tinybert.tasks.task import Encoding, TaskInfo, read_named_info
from tinybert.tasks.task_file import TaskFile
from tinybert.training.grid import dev_split

TABLE = Path("reports/choose")


class _Parser(argparse.ArgumentParser):
    """One that says what is wrong as every command here does."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"arguments: {message}; right are TASK=mrpc MS=5 THREADS=1 LENGTH=64")


def choose(
    task: str, limit: float, threads: int, length: int, engine: EngineName, system: str, seed: int
) -> tuple[list[Candidate], Candidate]:
    """Fit, score and time every shape; return all of them and the one that is chosen.

    Args:
        task: Its name.
        limit: Milliseconds of one row.
        threads: Of one pass.
        length: Tokens of the row.
        engine: How the student will run.
        system: Whose layer map is taken.
        seed: Of the fits.

    Raises:
        InputError: The task's teacher is not made yet, or no shape is fast enough.
    """
    task_folder, teacher_folder = Path("data/tasks") / task, Path("models/teacher") / task
    task_file = read_task(task, TaskFile)
    if not teacher_folder.is_dir() or not task_folder.is_dir():
        raise InputError(
            f"{teacher_folder}: the task's teacher is needed, got none; run "
            f"`dvc repro finetune_teacher@{task}`, with {task} among params.yaml's tasks"
        )
    info = read_named_info(task_folder, task)
    teacher = task_classifier(teacher_folder, info)
    require_positions(length, teacher.config, "LENGTH", "teacher")
    shapes = candidate_shapes(teacher.config)
    with Progress(transient=True) as progress:
        bar = progress.add_task(f"{len(shapes)} shapes, timed and fitted", total=2 * len(shapes))

        def advance() -> None:
            progress.advance(bar)

        times = measure_shapes(shapes, teacher, engine, length, threads, seed, advance)
        require_reachable(shapes, times, limit)
        judge = make_judge(teacher, task_folder, info, task_file.encoding(info), system, seed)
        found = []
        for shape, ms in zip(shapes, times, strict=True):
            found.append(judge(shape, ms))
            advance()
    return found, choose_candidate(found, limit)


def require_recipe(system: str) -> None:
    """Check that what shapes are judged by holds for students of a system.

    Raises:
        InputError: It does not.
    """
    file, read = named_file("systems", system), read_system_file(system)
    vocabulary = "teacher" if read.vocabulary.is_teachers else "another"
    for key, found, right in (
        ("intermediate_distill.start", read.intermediate_distill.start, "closed_form"),
        ("shape.architecture", read.shape.architecture, "bert"),
        ("vocabulary", vocabulary, "teacher"),
    ):
        if found != right:
            raise InputError(
                f"{file}: {key} must be {right}, got {found}; shapes are fitted and timed so: give "
                "another SYSTEM, for instance closed_form_mini"
            )


def make_judge(
    teacher: Any, task_folder: Path, info: TaskInfo, encoding: Encoding, system: str, seed: int
) -> Judge:
    """Return what fits and scores shapes on a prepared task, with its unlabelled rows if any."""
    tokenizer = load_tokenizer(Path("models/teacher") / info.name)
    frame = read_own_rows(task_folder, info)
    dev = dev_split(task_folder, tokenizer, encoding, info)
    return Judge(
        teacher.to(computing_device()).eval(),
        encode_split(frame, tokenizer, encoding),
        dev,
        read_system(system, "layer_map", LayerMap),
        seed,
    )


def as_frame(candidates: Sequence[Candidate]) -> pd.DataFrame:
    """Return the candidates as a table, the fastest first, with which ones nobody beats in both."""
    rows = [
        {
            "shape": each.name,
            "feed-forward": each.shape.intermediate_size,
            "parameters": each.parameters,
            "ms": each.ms,
            "lost": each.lost,
            "score": each.score,
        }
        for each in sorted(candidates, key=lambda each: (each.ms, each.lost))
    ]
    found = pd.DataFrame(rows)
    return found.assign(front=pareto_front(found.assign(score=-found["lost"])))


def write_system(name: str, content: dict[str, Any]) -> Path:
    """Write params/systems/<name>.yaml.

    Raises:
        InputError: There is another one of this name.
    """
    file = Path("params/systems") / f"{name}.yaml"
    text = "# Written by `make choose`.\n" + yaml.safe_dump(content, sort_keys=False)
    if file.is_file() and {**read_yaml(file), "description": ""} != {**content, "description": ""}:
        raise InputError(f"{file}: says something else, got a file of this name; give NAME=another")
    with replace_file(file) as partial:
        partial.write_text(text, encoding="utf-8")
    return file


def main(arguments: list[str]) -> str:
    """Choose, print the table, and write the system's file."""
    parser = _Parser(prog="python -m stages._choose")
    parser.add_argument("--task", required=True)
    parser.add_argument("--ms", type=float, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--engine", default="onnx_int8", choices=get_args(EngineName))
    parser.add_argument("--system", default="closed_form_mini")
    parser.add_argument("--name", default="")
    given = parser.parse_args(arguments)
    for name in ("ms", "threads", "length"):
        if not getattr(given, name) > 0:
            value = getattr(given, name)
            raise InputError(f"{name.upper()}: must be more than 0, got {value:g}; give another")
    if given.name:
        require_names({"systems": given.name}, "NAME")
    require_recipe(given.system)
    engine, seed = given.engine, read_param("seed", int)
    found, best = choose(
        given.task, given.ms, given.threads, given.length, engine, given.system, seed
    )
    table = as_frame(found)
    TABLE.mkdir(parents=True, exist_ok=True)
    with replace_file(TABLE / f"{given.task}.csv") as file:
        table.to_csv(file, index=False)
    shown = table.assign(
        parameters=[f"{value / 1e6:.2f}M" for value in table["parameters"]],
        ms=[f"{value:.2f}" for value in table["ms"]],
        lost=[f"{value:.3f}" for value in table["lost"]],
        score=[f"{100 * value:.1f}" for value in table["score"]],
        front=["*" if value else "" for value in table["front"]],
    )
    print(shown.to_string(index=False))
    print(
        "lost: divergence from the teacher's answers on dev, untrained; *: nobody beats it in both"
    )
    said = (
        f"a row of {given.length} tokens in {engine}, {given.threads} thread"
        f"{'s' if given.threads > 1 else ''}"
    )
    name = given.name or f"closed_form_{shape_name(best.shape)}"
    recipe = read_yaml(named_file("systems", given.system))
    written = write_system(name, system_file(recipe, best.shape, best.ms, said))
    return (
        f"chose {best.name}, {best.ms:.2f} ms for {said}, and wrote {written}; train it: "
        f"dvc exp run -S 'systems=[{name}]' -S 'tasks=[{given.task}]'"
    )


if __name__ == "__main__":
    with ends_with_its_lines():
        print(main(sys.argv[1:]))
