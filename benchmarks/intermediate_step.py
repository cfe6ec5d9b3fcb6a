"""A step of intermediate distillation on a pair task, with the teacher's passes and stored."""

import tempfile
from pathlib import Path

from benchmarks import flops, shapes, texts
from benchmarks.machine import MatrixRate
from benchmarks.options import Options
from benchmarks.plain_step import seconds_per_step
from benchmarks.result import Result
from benchmarks.training_steps import Steps, time_steps
from tinybert.distillation.teacher import Teacher, TeacherSignals
from tinybert.distillation.teacher_states import use_stored_states
from tinybert.text.encoded import EncodedRows

TASKS = ("mrpc", "sst2")
BATCH_SIZE, LENGTH = 32, {"mrpc": 128, "sst2": 64}
STORED_ROWS = 256


def measure(options: Options) -> list[Result]:
    """Measure MRPC and SST-2 where their files are, or embedded tasks of their kinds."""
    tasks = texts.known_tasks(options, TASKS)
    return [result for task in tasks for result in measure_task(options, task)]


def measure_task(options: Options, glue_task: str) -> list[Result]:
    """Measure one task."""
    teacher_config, student_config = shapes.configs(options.shapes)
    layers = shapes.uniform_layers(options.shapes)
    name, rows = texts.task_rows(options, glue_task)
    teacher = Teacher(shapes.classifier(teacher_config).to(options.device), options.dtype)

    def steps_of(signals: TeacherSignals, part: EncodedRows) -> Steps:
        return time_steps(shapes.layer_student(options.shapes, signals), part, options, BATCH_SIZE)

    def result(case: str, steps: Steps, passes: bool) -> Result:
        operations = flops.layers_matched(student_config, teacher_config, steps.rows)
        operations += flops.forward(teacher_config, steps.rows) if passes else 0.0
        return steps.result("intermediate_step", f"{name} {case}", operations, rate, options)

    rate = MatrixRate(options.matrix_dtype, options.device)
    live = steps_of(teacher, rows)
    rate.measure()
    results = [result("teacher in every step", live, True)]
    if options.device.type == "cpu":  # on a GPU a pass is cheaper than reading
        with tempfile.TemporaryDirectory() as folder:
            signals, part, _ = use_stored_states(
                teacher, rows.part(0, STORED_ROWS), layers, [0, *layers], 1e9, 50.0, Path(folder)
            )
            stored = steps_of(signals, part)
        rate.measure()
        results.append(result("teacher's states stored", stored, False))
    plain = seconds_per_step(options, rows, BATCH_SIZE, LENGTH[glue_task], matches_layers=True)
    for one in results:
        assert one.examples is not None
        one.more["times faster than plain"] = plain / BATCH_SIZE / (one.seconds / one.examples)
    return results
