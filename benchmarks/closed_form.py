"""The closed-form start: seconds and memory at a quarter of the tokens and at all of them."""

from benchmarks import shapes, texts
from benchmarks.options import Options
from benchmarks.result import Result
from tinybert.closed_form.start import fit_student
from tinybert.distillation.projections import Projections

TOKENS = (8_192, 32_768)
LENGTH = 64


def measure(options: Options) -> list[Result]:
    """Fit the student's encoder and projections; memory should stay flat."""
    teacher_config, student_config = shapes.configs(options.shapes)
    teacher = shapes.encoder(teacher_config).to(options.device)
    layers = shapes.uniform_layers(options.shapes)
    results = []
    for tokens in TOKENS:
        rows = texts.block_rows(options, LENGTH, tokens // LENGTH)
        widths = (student_config.hidden_size, teacher_config.hidden_size)
        projections = Projections(len(layers), *widths, kind="per_layer")
        student = shapes.encoder(student_config)
        fit = fit_student(student, teacher, rows, layers, 0, projections, tokens)
        case, sizes = f"{options.shapes}, {tokens:,} tokens", (fit.num_tokens, fit.num_rows)
        results.append(Result("closed_form", case, fit.seconds, None, None, *sizes))
    return results
