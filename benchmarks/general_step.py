"""A step of general distillation on full blocks of text; then the same for two students at once."""

from benchmarks import flops, shapes, texts
from benchmarks.machine import MatrixRate
from benchmarks.options import Options
from benchmarks.plain_step import seconds_per_step
from benchmarks.result import Result
from benchmarks.training_steps import Steps, time_steps
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.together import Together

LENGTH = 128


def measure(options: Options) -> list[Result]:
    """Measure 32 rows of 128 tokens on a CPU, 256 on a GPU."""
    batch_size = 256 if options.device.type == "cuda" else 32
    teacher_config, student_config = shapes.configs(options.shapes)
    rows = texts.block_rows(options, LENGTH, batch_size * (options.steps + 3))
    teacher = Teacher(shapes.encoder(teacher_config), options.dtype)

    def student() -> Distillation:
        return shapes.layer_student(options.shapes, teacher)

    def result(case: str, steps: Steps, students: int) -> Result:
        operations = flops.forward(teacher_config, steps.rows)
        operations += students * flops.layers_matched(student_config, teacher_config, steps.rows)
        case = f"{batch_size}x{LENGTH} {case}"
        return steps.result("general_step", case, operations, rate, options)

    rate = MatrixRate(options.matrix_dtype, options.device)
    one = time_steps(student(), rows, options, batch_size, "rows")
    rate.measure()
    results = [result("one student", one, 1)]
    both = Together({"first": student(), "second": student()})
    two = time_steps(both, rows, options, batch_size, "rows")
    rate.measure()
    results.append(result("two students", two, 2))
    plain = seconds_per_step(options, rows, batch_size, LENGTH, matches_layers=True)
    ours = sum(one.seconds) / len(one.seconds)
    results[0].more["times faster than plain"] = plain / ours
    results[1].more["times faster than two runs"] = 2 * ours * len(two.seconds) / sum(two.seconds)
    return results
