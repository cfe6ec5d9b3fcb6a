"""Whether the order of untrained closed forms is the order of trained scores, by shape.

python -m benchmarks.choosing --task TASK [--steps 500] [--seeds 42,43] [--system NAME] [--show]

Runs in a workspace whose corpus and teachers are made. Each shape that `make choose` compares is
judged as it does, then trained so many steps as `benchmarks.starts` does; the rank correlation of
each measure with the trained score comes with a 95% interval over shapes drawn again. A row that
the table has is not computed again.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.starts import Bench, Cell, TaskBench
from flows.glue import split_names
from stages._choose import make_judge
from tinybert.core.errors import ends_with_its_lines
from tinybert.core.outputs import replace_file
from tinybert.core.precision import computing_device
from tinybert.core.settings.reader import read_task
from tinybert.deployment.choosing import candidate_shapes, shape_name
from tinybert.encoders.classifier import task_classifier
from tinybert.tasks.task import TaskFile, read_named_info

TABLE = Path("reports/benchmarks/choosing.csv")
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choosing")
    parser.add_argument("--task", required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", default="42")
    parser.add_argument("--system", default="closed_form_mini")
    parser.add_argument("--show", action="store_true", help="the table as far as it is")
    given = parser.parse_args(arguments)
    keys = ["task", "steps", "seed", "shape"]
    found = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=keys)
    known = set(found[keys].itertuples(index=False, name=None))
    if not given.show:
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        task_folder = Path("data/tasks") / given.task
        info, task_file = read_named_info(task_folder, given.task), read_task(given.task, TaskFile)
        teacher = task_classifier(Path("models/teacher") / given.task, info).to(computing_device())
        what = (given.task, MAX_ROWS, 0.0)
        shared: TaskBench | None = None
        for seed in map(int, split_names(given.seeds)):
            judge = make_judge(
                teacher, task_folder, info, task_file.encoding(info), given.system, seed
            )
            for shape in candidate_shapes(teacher.config):
                key = (given.task, given.steps, seed, shape_name(shape))
                if key in known:
                    continue
                of = judge(shape, 0.0)
                with tempfile.TemporaryDirectory() as folder:
                    bench = Bench(given.system, Path(folder), shape)
                    shared = shared.of(bench) if shared else TaskBench(bench, *what)
                    trained = shared.score(Cell(given.task, seed, "task", 0, given.steps))
                measured = {"parameters": of.parameters, "lost": of.lost, "score": of.score}
                row = dict(zip(keys, key, strict=True)) | measured | {"trained": trained}
                found = pd.concat([found, pd.DataFrame([row])], ignore_index=True)
                print(f"choosing: {', '.join(f'{a} {b}' for a, b in row.items())}", flush=True)
                with replace_file(TABLE) as file:
                    found.to_csv(file, index=False)
    of_task = found[(found["task"] == given.task) & (found["steps"] == given.steps)]
    print(of_task.to_markdown(index=False))
    print(correlations(of_task).round(2).to_markdown(index=False))


if __name__ == "__main__":
    with ends_with_its_lines():
        main(sys.argv[1:])
