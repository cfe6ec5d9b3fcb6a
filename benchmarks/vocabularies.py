"""What a student loses, and saves, with fewer pieces in its vocabulary.

python -m benchmarks.vocabularies --tasks a,b [--pieces 30522,8000] [--steps 0,1000] [--seeds 42]
    [--system NAME] [--precision fp32] [--table FILE...] [--show]

Runs in a workspace whose corpus, teachers and augmented rows are made. One student a task and seed
is fitted in closed form with all pieces, then cut to so many, scored on dev, scored again with its
head fitted to the cut rows, and trained so many steps as `benchmarks.starts` does. A row that the
table has is not computed again.
"""

import copy
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, product
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.starts import Begun, Bench, TaskBench
from benchmarks.table import Table, make_parser, numbers
from tinybert.closed_form.head import fit_head
from tinybert.closed_form.start import head_in_tokens
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_logits import with_logits
from tinybert.encoders.checkpoints import load_tokenizer
from tinybert.encoders.vocabulary import with_vocabulary
from tinybert.runtime.errors import ends_with_its_lines
from tinybert.runtime.precision import autocast_dtype
from tinybert.settings.names import split_names
from tinybert.tasks.aligned_rows import encode_beside
from tinybert.tasks.phase_rows import read_texts
from tinybert.text.vocabulary import count_corpus, piece_counts, trimmed_tokenizer
from tinybert.training.grid import dev_scores, dev_split

CORPUS = Path("data/corpus")
MAX_ROWS = 8000  # of train
KEYS = ["task", "seed", "pieces", "steps"]


def cut_tokenizer(of: TaskBench, pieces: int) -> Any:
    """Return a task's tokenizer of so many pieces."""
    corpus = count_corpus(of.tokenizer, CORPUS, load_tokenizer(CORPUS))
    texts = read_texts(Path("data/tasks") / of.task, of.info)
    return trimmed_tokenizer(of.tokenizer, piece_counts(of.tokenizer, texts, corpus), pieces)


def measure(of: TaskBench, seed: int, pieces: int, steps: int) -> dict[str, float]:
    """Cut a fitted student to so many pieces and train it; return size, length and dev score."""
    begun, kept = of.begin("task", seed, 0), cut_tokenizer(of, pieces)
    student = with_vocabulary(copy.deepcopy(begun.student), of.tokenizer, kept)
    dev = dev_split(Path("data/tasks") / of.task, kept, of.encoding, of.info)
    cut = next(iter(dev_scores(student.eval(), dev, None)().values()))
    rows = encode_beside(of.frame, kept, of.tokenizer, of.encoding)
    head = head_in_tokens(begun.head, of.own_rows, rows.first_texts(of.num_own), seed)
    fit_head(student, head, seed)
    if steps:
        own = Begun(student, copy.deepcopy(begun.projections), head)
        scored = with_logits(replace(rows, targets={}).without_beside(), of.logits, Path(of.task))
        teacher = Teacher(of.teacher, None)
        of.bench.distil(own, teacher, rows, scored, of.info.kind, steps, seed)
    size = sum(each.numel() for each in student.parameters())
    score = next(iter(dev_scores(student.eval(), dev, None)().values()))
    tokens = float(dev.rows.lengths.mean())
    return {"parameters": size, "tokens": tokens, "cut": cut, "score": score}


def show(found: pd.DataFrame) -> str:
    """Return the table as text, megabytes in float32, scores times 100 and means over seeds."""
    scores = {name: 100 * found[name] for name in ("cut", "score")}
    groups = found.assign(MB=found["parameters"] * 4e-6, **scores)
    sizes = groups.groupby(["task", "pieces"])[["parameters", "MB", "tokens", "cut"]].mean()
    trained = groups.groupby(["task", "pieces", "steps"])["score"].mean().unstack("steps")
    table = sizes.join(trained.add_prefix("steps ")).sort_index(ascending=[True, False])
    return str(table.round(1).reset_index().to_markdown(index=False))


def main(arguments: Sequence[str]) -> None:
    """Compute what the table lacks, and show it."""
    parser = make_parser("vocabularies")
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--pieces", type=numbers, default="30522,16000,8000,4000,2000")
    parser.add_argument("--steps", type=numbers, default="0")
    parser.add_argument("--seeds", type=numbers, default="42")
    given = parser.parse_args(arguments)
    table = Table(KEYS, given)
    asked = product(split_names(given.tasks), given.seeds, given.pieces, given.steps)
    if wanted := table.missing(asked):
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(given.system, Path(folder), dtype=autocast_dtype(given.precision))
            for task, keys in groupby(wanted, key=lambda key: key[0]):
                of = TaskBench(bench, task, MAX_ROWS, 0.0)
                for key in keys:
                    _, seed, size, num_steps = key
                    table.add(key, **measure(of, seed, size, num_steps))
    print(show(table.found()))


if __name__ == "__main__":
    with ends_with_its_lines():
        main(sys.argv[1:])
