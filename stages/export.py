"""Write a student as ONNX, in float32 and in int8, if both answer as it does.

python -m stages.export SYSTEM TASK
"""

import shutil
from pathlib import Path

import numpy as np
from rich.progress import track

from stages import run
from tinybert.core.outputs import replace_file, replace_folder, write_json
from tinybert.core.settings.reader import read_param, read_section, read_task
from tinybert.deployment.gate import choose, compare, megabytes, require_same
from tinybert.deployment.int8 import processor_flags, quantize, sums_overflow
from tinybert.deployment.onnx_file import (
    FLOAT,
    INT8,
    export_onnx,
    open_session,
    padded_inputs,
    session_logits,
)
from tinybert.deployment.sections import ExportSettings
from tinybert.encoders.checkpoints import load_classifier, load_tokenizer
from tinybert.evaluation.prediction import predict_logits
from tinybert.evaluation.scores import encode_split
from tinybert.tasks.task import DEV, TRAIN, TaskFile, read_named_info, read_split


def main(system: str, task: str) -> str:
    """Make models/onnx/<system>/<task>, and say what int8 cost."""
    settings, seed = read_section("export", ExportSettings), read_param("seed", int)
    student, task_folder = Path("models/prediction") / system / task, Path("data/tasks") / task
    info, max_length = read_named_info(task_folder, task), read_task(task, TaskFile).max_length
    model, tokenizer = load_classifier(student), load_tokenizer(student)
    pad, place = model.config.pad_token_id or 0, f"export {system} {task}"
    dev, train = (read_split(task_folder, split) for split in (DEV, TRAIN))
    gold, rows = dev["label"].to_numpy(), encode_split(dev, tokenizer, max_length)
    drawn = np.random.default_rng(seed).permutation(len(train))[: settings.calibration_rows]
    flags = processor_flags()
    output, report = (
        Path("models/onnx") / system / task,
        Path(f"reports/export/{system}-{task}.json"),
    )
    with replace_folder(output) as folder:
        shutil.copytree(
            student, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors")
        )
        (folder / FLOAT).parent.mkdir()
        export_onnx(model, folder / FLOAT)
        logits = session_logits(open_session(folder / FLOAT), rows, pad)
        difference = require_same(place, predict_logits(model, rows, None), logits)
        calibrating = encode_split(train.iloc[np.sort(drawn)], tokenizer, max_length)
        batches = padded_inputs(open_session(folder / FLOAT), calibrating, pad)
        tried = []
        for name in track(settings.calibrations, place, transient=True):
            file = folder / f"{name}.onnx"
            quantize(folder / FLOAT, file, name, batches, sums_overflow(flags))
            answers = session_logits(open_session(file), rows, pad)
            tried.append(compare(name, logits, answers, gold, info, megabytes(file), seed))
        best = choose(place, tried, settings.max_score_drop)
        for one in tried:
            file = folder / f"{one.name}.onnx"
            file.replace(folder / INT8) if one is best else file.unlink()
        float32 = {"largest_difference": difference, "size_mb": megabytes(folder / FLOAT)}
    with replace_file(report) as partial:
        write_json(
            {
                "system": system,
                "task": task,
                "metric": info.metrics[0],
                "num_rows": len(dev),
                "float32": float32 | {"score": best.score + best.drop},
                "int8": [one.as_json() for one in tried],
                "chosen": best.name,
                "processor_flags": flags,
                "reduced_range": sums_overflow(flags),
            },
            partial,
        )
    agreement = "" if best.agreement is None else f", same answer in {100 * best.agreement:.1f}%"
    return (
        f"made {output}: ONNX {float32['size_mb']:.1f} MB; int8 ({best.name}) {best.size_mb:.1f} "
        f"MB, {100 * best.drop:.1f} points of {info.metrics[0]} lost "
        f"({100 * best.drop_low:.1f} to {100 * best.drop_high:.1f}){agreement}"
    )


if __name__ == "__main__":
    run(main)
