"""A step of fine-tuning the teacher."""

import numpy as np

from benchmarks import flops, shapes, texts
from benchmarks.machine import MatrixRate
from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.training_steps import time_steps
from tinybert.distillation.distillation import Distillation

TASK = "rte"
BATCH_SIZE = 32


def measure(options: Options) -> list[Result]:
    """Measure RTE, or an embedded task of its kind."""
    config, _ = shapes.configs(options.shapes)
    name, rows = texts.task_rows(options, TASK)
    rows = rows.with_targets(labels=np.arange(len(rows)) % 2)
    rate = MatrixRate(options.matrix_dtype, options.device)
    model = Distillation(shapes.classifier(config), {"label": 1.0})
    steps = time_steps(model, rows, options, BATCH_SIZE)
    rate.measure()
    operations = flops.BACKWARD * flops.forward(config, steps.rows)
    return [steps.result("finetuning_step", name, operations, rate, options)]
