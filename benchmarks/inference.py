"""A forward pass of teacher and student without padding; as the stage `benchmark_latency` does."""

from benchmarks import flops, shapes
from benchmarks.machine import MatrixRate
from benchmarks.options import Options
from benchmarks.result import Result
from tinybert.evaluation.latency import measure_grid
from tinybert.evaluation.sections import BenchmarkLatencySettings

BATCH_SIZES, LENGTHS = [1, 32], [128]


def measure(options: Options) -> list[Result]:
    """Measure batches of 1 and 32 rows of 128 tokens in float32."""
    teacher_config, student_config = shapes.configs(options.shapes)
    grid = BenchmarkLatencySettings(
        batch_sizes=BATCH_SIZES,
        sequence_lengths=LENGTHS,
        num_threads=None,
        precision="fp32" if options.dtype is None else "bf16",
        device="cuda" if options.device.type == "cuda" else "cpu",
        num_repeats=max(2, options.steps // 2),
        num_warmup=1,
    )
    models = shapes.classifier(student_config), shapes.classifier(teacher_config)
    rate = MatrixRate(options.matrix_dtype, options.device)
    cells = measure_grid(*models, grid, options.device, seed=0)
    rate.measure()
    results = []
    for cell in cells:
        rows, length = int(cell["batch_size"]), int(cell["sequence_length"])
        for who, config in (("student", student_config), ("teacher", teacher_config)):
            more = {"speed-up": float(cell["speedup"])} if who == "student" else {}
            results.append(
                Result(
                    "inference",
                    f"{options.shapes} {who} {rows}x{length}",
                    float(cell[f"{who}_ms"]) / 1000,
                    flops.forward(config, [length] * rows),
                    rate,
                    rows * length,
                    rows,
                    more=more,
                )
            )
    return results
