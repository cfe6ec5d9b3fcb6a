"""A general step with compiled layers and without: what that saves, and what its warm-up costs.

Pays after as many steps as `steps to pay` says; none where compiled steps are no faster.
"""

import time
from statistics import median

from benchmarks import shapes, texts
from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.training_steps import Steps, time_steps
from tinybert.distillation.teacher import Teacher

BATCH_SIZE, LENGTH = 32, 64


def measure(options: Options) -> list[Result]:
    """Measure 32 rows of 64 tokens."""
    teacher_config, _ = shapes.configs(options.shapes)
    rows = texts.block_rows(options, LENGTH, BATCH_SIZE * (options.steps + 3))

    def timed(compiled: bool) -> tuple[Steps, float]:
        teacher = Teacher(shapes.encoder(teacher_config), options.dtype)
        model = shapes.layer_student(options.shapes, teacher)
        if compiled:
            model.compile_layers()
        started = time.perf_counter()
        found = time_steps(model, rows, options, BATCH_SIZE, "rows")
        return found, time.perf_counter() - started - sum(found.seconds)

    results: list[Result] = []
    each, warmups = [], []
    for case, compiled in (("plain", False), ("compiled", True)):
        steps, warmup = timed(compiled)
        lengths = steps.rows
        each.append(median(steps.seconds))
        warmups.append(warmup)
        results.append(
            Result(
                "compiling",
                f"{options.shapes} {BATCH_SIZE}x{LENGTH} {case}",
                sum(steps.seconds),
                tokens=sum(lengths),
                examples=len(lengths),
                more={"warm-up s": warmup},
            )
        )
    saved = each[0] - each[1]
    pays = round((warmups[1] - warmups[0]) / saved) if saved > 0 else "none"
    results[1].more.update({"times faster": each[0] / each[1], "steps to pay": pays})
    return results
