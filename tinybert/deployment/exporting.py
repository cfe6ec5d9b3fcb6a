"""Write a classifier as ONNX, in float32 and in int8, if both answer on dev as it does."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from tinybert.deployment.gate import choose, compare, megabytes, require_same
from tinybert.deployment.int8 import processor_flags, quantize, sums_overflow
from tinybert.deployment.onnx_file import (
    export_onnx,
    open_session,
    padded_inputs,
    session_logits,
)
from tinybert.deployment.sections import FLOAT, INT8, ExportSettings
from tinybert.encoders.checkpoints import load_classifier, load_tokenizer
from tinybert.evaluation.decision import saved_decision
from tinybert.evaluation.prediction import predict_logits, task_split
from tinybert.runtime.outputs import replace_folder
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.task import DEV, TRAIN, Encoding, read_named_info, read_split


def export_student(
    student: Path,
    task_folder: Path,
    output: Path,
    encoding: Encoding,
    settings: ExportSettings,
    seed: int,
) -> dict[str, Any]:
    """Write a folder with ONNX files, configuration and tokenizer; return what int8 cost.

    Args:
        student: Folder of a classifier.
        task_folder: The prepared task.
        output: The folder to write.
        encoding: How rows become tokens.
        settings: What is tried, and what may be lost.
        seed: Of the rows drawn.

    Raises:
        InputError: ONNX answers otherwise than PyTorch, or int8 loses too much; nothing is left.
    """
    info, place = read_named_info(task_folder, task_folder.name), f"export of {student}"
    model, tokenizer = load_classifier(student), load_tokenizer(student)
    flags = processor_flags()
    pad, reduced = model.config.pad_token_id or 0, sums_overflow(flags)
    dev, train = (read_split(task_folder, split) for split in (DEV, TRAIN))
    decision = saved_decision(model.config, info, str(student))
    split = task_split(dev, tokenizer, encoding, info)
    rows = split.rows
    drawn = np.random.default_rng(seed).permutation(len(train))[: settings.calibration_rows]
    with replace_folder(output) as folder:
        shutil.copytree(
            student, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors")
        )
        (folder / FLOAT).parent.mkdir()
        export_onnx(model, folder / FLOAT)
        session = open_session(folder / FLOAT)
        logits = session_logits(session, rows, pad)
        difference = require_same(place, predict_logits(model, rows, None), logits)
        calibrating = encode_split(train.iloc[np.sort(drawn)], tokenizer, encoding)
        batches = padded_inputs(session, calibrating, pad)
        tried = []
        for name in track(settings.calibrations, place, transient=True):
            file = folder / f"{name}.onnx"
            quantize(folder / FLOAT, file, name, batches, reduced)
            answers = session_logits(open_session(file), rows, pad)
            tried.append(compare(name, logits, answers, split, decision, megabytes(file), seed))
        best = choose(place, tried, settings.max_score_drop)
        for one in tried:
            file = folder / f"{one.name}.onnx"
            file.replace(folder / INT8) if one is best else file.unlink()
        size = megabytes(folder / FLOAT)
    return {
        "metric": info.metrics[0],
        "num_rows": len(dev),
        "float32": {
            "score": best.score + best.drop,
            "largest_difference": difference,
            "size_mb": size,
        },
        "int8": [asdict(one) for one in tried],
        "chosen": asdict(best),
        "processor_flags": flags,
        "reduced_range": reduced,
    }
