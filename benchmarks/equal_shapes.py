"""Thin and deep, or wide and shallow: shapes that cost the same, trained for as long.

python -m benchmarks.equal_shapes [--tasks A,B] [--seeds 42,43] [--steps 500] [--system NAME]
    [--engine pytorch_fp32] [--length 64] [--precision fp32] [--table FILE...] [--show]

Runs in a workspace whose corpus and teachers are made. Of each depth two shapes are taken: as many
parameters as the system's own shape has, and as many milliseconds for one row, as measured in turn
by the first run and kept in a file of their own, for which others wait that run side by side. Each
starts in closed form and is trained as `benchmarks.starts` does. A row that the table has is not
computed again.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby, product
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from transformers import PreTrainedModel

from benchmarks.starts import Bench, Cell, TaskBench, mean_and_deviation
from benchmarks.table import FOLDER, Table, make_parser, numbers
from tinybert.deployment.choosing import LAYERS, measure_shapes, new_student, shape_name
from tinybert.deployment.sections import EngineName
from tinybert.encoders.classifier import task_classifier
from tinybert.encoders.cost import num_parameters
from tinybert.runtime.errors import ends_with_its_lines
from tinybert.runtime.outputs import replace_file
from tinybert.runtime.precision import Precision, autocast_dtype
from tinybert.settings.names import split_names
from tinybert.settings.reader import read_param, read_system
from tinybert.settings.systems import Shape
from tinybert.tasks.task import read_named_info

TIMES = FOLDER / "equal_shapes_times.csv"
MAX_ROWS = 8000  # of train
TIMED_WIDTHS = 5  # of each depth, to begin with
SEED = 0  # of the weights and tokens that are timed
KEYS = ["task", "steps", "seed", "shape"]


class Measured(NamedTuple):
    """A shape and what it costs.

    Attributes:
        shape: Layers times width.
        parameters: Of encoder and head.
        ms: Median of one row.
    """

    shape: str
    parameters: int
    ms: float


def with_size(reference: Shape, layers: int, width: int) -> Shape:
    """Return a shape of the reference's proportions: heads, and feed-forward to width."""
    inner = width * reference.intermediate_size // reference.hidden_size
    changes = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": inner}
    return reference.model_copy(update=changes)


def depths(teacher: Any) -> list[int]:
    """Return the depths compared: no more layers than the teacher has."""
    return [layers for layers in LAYERS if layers <= teacher.num_hidden_layers]


def width_of_cost(
    reference: Shape, widths: Sequence[int], costs: Sequence[float], goal: float
) -> int:
    """Return the width, a multiple of the heads, that costs a goal, between those measured.

    Args:
        reference: Whose heads divide it.
        widths: Measured, ascending.
        costs: Of each; made ascending, which noise may undo.
        goal: The cost looked for; beyond all of them the nearest width is taken.
    """
    ascending = np.maximum.accumulate(np.asarray(costs, dtype=float))
    heads = reference.num_attention_heads
    return heads * round(float(np.interp(goal, ascending, widths)) / heads)


def measure(
    reference: Shape, teacher: PreTrainedModel, engine: EngineName, length: int
) -> dict[str, list[Measured]]:
    """Return the shapes of as many parameters as the reference, and those of as many milliseconds.

    The widths of equal milliseconds lie between widths that are timed first, all in turn.
    """

    def count(shape: Shape) -> int:
        return num_parameters(new_student(shape, teacher, SEED))

    def timed(which: Sequence[Shape]) -> list[float]:
        threads = torch.get_num_threads()
        return measure_shapes(which, teacher, engine, length, threads, SEED)

    heads, own = reference.num_attention_heads, reference.num_hidden_layers
    widths = [heads * of for of in range(6, teacher.config.hidden_size // heads + 1)]
    some = [widths[at] for at in np.linspace(0, len(widths) - 1, TIMED_WIDTHS).astype(int)]
    shapes = [with_size(reference, m, of) for m in depths(teacher.config) for of in some]
    *times, limit = timed([*shapes, reference])
    equal: dict[str, list[Shape]] = {"parameters": [], "milliseconds": []}
    for number, layers in enumerate(depths(teacher.config)):
        counts = [count(with_size(reference, layers, of)) for of in widths]
        ms = times[number * len(some) : (number + 1) * len(some)]
        by_count = width_of_cost(reference, widths, counts, count(reference))
        by_time = width_of_cost(reference, some, ms, limit)
        for name, width in (("parameters", by_count), ("milliseconds", by_time)):
            shape = with_size(reference, layers, width)
            equal[name].append(reference if layers == own else shape)
    again = iter(timed([*equal["parameters"], *equal["milliseconds"]]))
    return {
        name: [Measured(shape_name(of), count(of), next(again)) for of in shapes]
        for name, shapes in equal.items()
    }


def known_or_measured(made: Callable[[], dict[str, list[Measured]]]) -> pd.DataFrame:
    """Return the file of times, measured where there is none: `equal` says what is equal."""
    TIMES.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{TIMES}.lock"):  # else each of several processes would choose other shapes
        if not TIMES.is_file():
            rows = [{"equal": name, **of._asdict()} for name, each in made().items() for of in each]
            with replace_file(TIMES) as file:
                pd.DataFrame(rows).to_csv(file, index=False)
    return pd.read_csv(TIMES)


def summary(times: pd.DataFrame, trained: pd.DataFrame, steps: int) -> pd.DataFrame:
    """Return a row per equal cost and shape: parameters, milliseconds, and scores by task."""
    scores = trained[trained["steps"] == steps].assign(score=lambda of: 100 * of["score"])
    groups = scores.groupby(["shape", "task"])["score"]
    cells = groups.agg(mean_and_deviation).unstack("task")
    shown = times.assign(parameters=[f"{of / 1e6:.2f}M" for of in times["parameters"]])
    return shown.round({"ms": 2}).merge(cells, left_on="shape", right_index=True, how="left")


def main(arguments: Sequence[str]) -> None:
    """Compute what the table lacks, and show it."""
    parser = make_parser("equal_shapes", read_param("precision", Precision))
    parser.add_argument("--tasks", default=",".join(read_param("tasks", list[str])))
    parser.add_argument("--seeds", type=numbers, default="42,43,44")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--engine", choices=get_args(EngineName), default="pytorch_fp32")
    parser.add_argument("--length", type=int, default=64)
    given = parser.parse_args(arguments)
    tasks = split_names(given.tasks)
    table = Table(KEYS, given)
    reference = read_system(given.system, "shape", Shape)
    info = read_named_info(Path("data/tasks") / tasks[0], tasks[0])
    teacher = task_classifier(Path("models/teacher") / tasks[0], info).eval()
    times = known_or_measured(lambda: measure(reference, teacher, given.engine, given.length))
    names = dict.fromkeys(times["shape"])
    wanted = table.missing(product(tasks, [given.steps], given.seeds, names))
    dtype = autocast_dtype(given.precision)
    for task, keys in groupby(wanted, key=lambda key: key[0]):
        with tempfile.TemporaryDirectory() as whole:
            shared: TaskBench | None = None  # the teacher's passes over a task's rows
            for key in keys:
                _, steps, seed, name = key
                shape = with_size(reference, *map(int, name.split("x")))
                with tempfile.TemporaryDirectory() as folder:
                    bench = Bench(given.system, Path(folder), shape, dtype)
                    new = partial(TaskBench, bench, task, MAX_ROWS, states=Path(whole) / "states")
                    shared = shared.of(bench) if shared else new()
                    table.add(key, score=shared.score(Cell(task, seed, "task", 0, steps)))
    print(summary(times, table.found(), given.steps).to_markdown(index=False))


if __name__ == "__main__":
    with ends_with_its_lines():
        main(sys.argv[1:])
