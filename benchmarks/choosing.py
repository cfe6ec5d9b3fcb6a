"""Whether the order of untrained closed forms is the order of trained scores, by shape.

python -m benchmarks.choosing --task TASK [--steps 500] [--seeds 42,43] [--system NAME]
    [--precision fp32] [--table FILE...] [--show]

Runs in a workspace whose corpus and teachers are made. Each shape that `make choose` compares is
judged as it does, then trained so many steps as `benchmarks.starts` does; the rank correlation of
each measure with the trained score comes with a 95% interval over shapes drawn again. A row that
the table has is not computed again.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.starts import Bench, Cell, TaskBench
from benchmarks.table import Table, make_parser, numbers
from stages._choose import make_judge
from tinybert.deployment.choosing import candidate_shapes, shape_name
from tinybert.encoders.classifier import task_classifier
from tinybert.runtime.errors import ends_with_its_lines
from tinybert.runtime.precision import autocast_dtype, computing_device
from tinybert.settings.reader import read_task
from tinybert.tasks.task import read_named_info
from tinybert.tasks.task_file import TaskFile

KEYS = ["task", "steps", "seed", "shape"]
MAX_ROWS = 8000  # of train
RESAMPLES = 2000
INTERVAL = (0.025, 0.975)
MEASURES = {"lost": -1, "score": 1, "parameters": 1}  # and the sign that says better


def correlations(found: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return each measure's rank correlation with the trained score, with its interval.

    Args:
        found: A row per shape and seed: `shape`, the measures, and `trained`.
        seed: Of the shapes drawn again.
    """
    by_shape = found.groupby("shape")[[*MEASURES, "trained"]].mean().to_numpy(dtype=float)
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(by_shape), size=(RESAMPLES, len(by_shape)))
    rows = []
    for column, (measure, sign) in enumerate(MEASURES.items()):
        pairs = by_shape[:, [column, -1]] * (sign, 1)
        again = [spearmanr(pairs[draw]).statistic for draw in draws if len(set(draw)) > 2]
        low, high = np.nanquantile(again, INTERVAL)
        rows.append((measure, spearmanr(pairs).statistic, low, high, len(by_shape)))
    return pd.DataFrame(rows, columns=["measure", "rank correlation", "low", "high", "shapes"])


def main(arguments: Sequence[str]) -> None:
    """Compute what the table lacks, and show it."""
    parser = make_parser("choosing")
    parser.add_argument("--task", required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=numbers, default="42")
    given = parser.parse_args(arguments)
    table = Table(KEYS, given)
    if not given.show:
        _train(given, table)
    found = table.found()
    of_task = found[(found["task"] == given.task) & (found["steps"] == given.steps)]
    print(of_task.to_markdown(index=False))
    print(correlations(of_task).round(2).to_markdown(index=False))


def _train(given: argparse.Namespace, table: Table) -> None:
    """Judge and train what the table lacks; the teacher's pass over the rows is shared."""
    folder = Path("data/tasks") / given.task
    info = read_named_info(folder, given.task)
    encoding = read_task(given.task, TaskFile).encoding(info)
    teacher = task_classifier(Path("models/teacher") / given.task, info).to(computing_device())
    shapes = {shape_name(shape): shape for shape in candidate_shapes(teacher.config)}
    asked = product([given.task], [given.steps], given.seeds, shapes)
    dtype, shared = autocast_dtype(given.precision), None
    for seed, keys in groupby(table.missing(asked), key=lambda key: key[2]):
        judge = make_judge(teacher, folder, info, encoding, given.system, seed)
        for key in keys:
            shape = shapes[key[3]]
            of = judge(shape, 0.0)
            with tempfile.TemporaryDirectory() as place:
                bench = Bench(given.system, Path(place), shape, dtype)
                shared = shared.of(bench) if shared else TaskBench(bench, given.task, MAX_ROWS, 0.0)
                trained = shared.score(Cell(given.task, seed, "task", 0, given.steps))
            sizes = {"parameters": of.parameters, "lost": of.lost, "score": of.score}
            table.add(key, **sizes, trained=trained)


if __name__ == "__main__":
    with ends_with_its_lines():
        main(sys.argv[1:])
