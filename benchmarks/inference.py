"""A forward pass of teacher and student without padding; as the stage `benchmark_latency` does."""

from benchmarks import flops, shapes
from benchmarks.machine import MatrixRate
from benchmarks.options import Options
from benchmarks.result import Result
from tinybert.deployment.engines import torch_engine
from tinybert.deployment.latency import TEACHER, Draw, measure_grid
from tinybert.deployment.sections import BenchmarkLatencySettings, EngineName

BATCH_SIZES, LENGTH = [1, 32], 128


def measure(options: Options) -> list[Result]:
    """Measure batches of 1 and 32 rows of 128 tokens in float32."""
    teacher_config, student_config = shapes.configs(options.shapes)
    engine: EngineName = "pytorch_fp32" if options.dtype is None else "pytorch_bf16"
    grid = BenchmarkLatencySettings(
        engines=[engine],
        batch_sizes=BATCH_SIZES,
        sequence_lengths=[LENGTH],
        num_threads=None,
        precision="fp32" if options.dtype is None else "bf16",
        device="cuda" if options.device.type == "cuda" else "cpu",
        num_repeats=max(2, options.steps // 2),
        num_warmup=1,
    )
    models = {"student": student_config, TEACHER: teacher_config}
    engines = {
        name: torch_engine(shapes.classifier(config), engine, options.device)
        for name, config in models.items()
    }
    makers = {name: lambda _, engine=engine: engine for name, engine in engines.items()}
    rate = MatrixRate(options.matrix_dtype, options.device)
    cells = measure_grid(makers, Draw(student_config.vocab_size, seed=0), grid)
    rate.measure()
    results = []
    for cell in cells:
        rows, length = int(cell["batch_size"]), int(cell["sequence_length"])
        for who, config in models.items():
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
