"""Cost against size: batches of four sizes of one length. It should grow as the tokens do."""

import numpy as np

from benchmarks import flops, shapes, texts
from benchmarks.machine import MatrixRate
from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.training_steps import time_steps
from tinybert.distillation.teacher import Teacher

BATCH_SIZES, LENGTH = (8, 16, 32, 64), 64


def measure(options: Options) -> list[Result]:
    """Measure a general step at 512, 1,024, 2,048 and 4,096 tokens."""
    teacher_config, student_config = shapes.configs(options.shapes)
    teacher = Teacher(shapes.encoder(teacher_config), options.dtype)
    results = []
    for batch_size in BATCH_SIZES:
        rows = texts.block_rows(options, LENGTH, batch_size * (options.steps + 3))
        rate = MatrixRate(options.matrix_dtype, options.device)
        model = shapes.layer_student(options.shapes, teacher)
        steps = time_steps(model, rows, options, batch_size, "rows")
        lengths = steps.rows
        operations = flops.forward(teacher_config, lengths)
        operations += flops.layers_matched(student_config, teacher_config, lengths)
        results.append(
            Result(
                "scaling",
                f"{options.shapes} {batch_size}x{LENGTH}",
                float(np.median(steps.seconds)) * len(steps.seconds),
                operations,
                rate,
                sum(lengths),
                len(lengths),
            )
        )
    seconds, tokens = [one.seconds for one in results], [one.tokens for one in results]
    slope = np.polyfit(np.log(np.array(tokens, dtype=float)), np.log(seconds), 1)[0]
    results[-1].more["time grows as tokens to the power"] = float(slope)
    return results
