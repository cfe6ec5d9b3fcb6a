"""A step of prediction distillation from stored logits, and the one pass that stores them."""

import time

from benchmarks import flops, shapes, texts
from benchmarks.machine import MatrixRate, wait_for
from benchmarks.options import Options
from benchmarks.plain_step import seconds_per_step
from benchmarks.result import Result
from benchmarks.training_steps import time_steps
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.teacher import Teacher
from tinybert.evaluation.prediction import predict_logits

TASKS = ("mrpc", "cola")
BATCH_SIZE, LENGTH = 32, {"mrpc": 128, "cola": 64}
PASS_ROWS = 400
EPOCHS = 3


def measure(options: Options) -> list[Result]:
    """Measure MRPC and CoLA where their files are, or embedded tasks of their kinds."""
    tasks = texts.known_tasks(options, TASKS)
    return [result for task in tasks for result in measure_task(options, task)]


def measure_task(options: Options, glue_task: str) -> list[Result]:
    """Measure one task."""
    teacher_config, student_config = shapes.configs(options.shapes)
    name, rows = texts.task_rows(options, glue_task)
    rate = MatrixRate(options.matrix_dtype, options.device)
    teacher = Teacher(shapes.classifier(teacher_config).to(options.device), options.dtype)
    part = rows.part(0, min(PASS_ROWS, len(rows)))
    predict_logits(teacher.model, rows.part(0, 16), options.dtype)  # warm-up
    started = time.perf_counter()
    predict_logits(teacher.model, part, options.dtype)
    wait_for(options.device)
    pass_seconds = time.perf_counter() - started
    rows = rows.with_targets(teacher_logits=texts.random_logits(len(rows)))
    model = Distillation(shapes.classifier(student_config), {"prediction": 1.0})
    steps = time_steps(model, rows, options, BATCH_SIZE, times=4)
    rate.measure()
    plain = seconds_per_step(options, rows, BATCH_SIZE, LENGTH[glue_task], matches_layers=False)
    student_seconds = sum(steps.seconds) / len(steps.rows)
    both = student_seconds + pass_seconds / len(part) / EPOCHS
    operations = flops.BACKWARD * flops.forward(student_config, steps.rows)
    case = f"{name} from stored logits"
    student = steps.result("prediction_step", case, operations, rate, options)
    student.more["times faster than plain"] = plain / BATCH_SIZE / student_seconds
    student.more[f"with the pass over {EPOCHS} epochs"] = plain / BATCH_SIZE / both
    return [
        student,
        Result(
            "prediction_step",
            f"{options.shapes} {name} the teacher's one pass",
            pass_seconds,
            flops.forward(teacher_config, part.lengths.tolist()),
            rate,
            len(part.ids),
            len(part),
        ),
    ]
