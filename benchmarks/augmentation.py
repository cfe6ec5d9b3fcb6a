"""Augmentation of a task's rows, against asking the masked-word model one request at a time."""

import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from benchmarks import flops, shapes, texts
from benchmarks.machine import MatrixRate, wait_for
from benchmarks.options import Options
from benchmarks.result import Result
from tinybert.augmentation.masked_words import MaskedWords
from tinybert.augmentation.sampling import Augmenter

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

ROWS = {"mrpc": 40, "cola": 160}
ONE_BY_ONE = 8  # requests timed
VECTOR_SIZE, OTHER_WORDS = 50, 20_000


def measure(options: Options) -> list[Result]:
    """Measure rows of MRPC and CoLA, or of embedded tasks of their kinds."""
    return [measure_task(options, task, num_rows) for task, num_rows in ROWS.items()]


def measure_task(options: Options, glue_task: str, num_rows: int) -> Result:
    """Measure so many rows of one task, each with 20 copies."""
    config, _ = shapes.configs(options.shapes)
    name, _, frame = texts.task_of(options, glue_task)
    frame = frame.iloc[:: max(1, len(frame) // num_rows)].head(num_rows).reset_index(drop=True)
    masked = MaskedWords(
        shapes.masked_lm(config),
        texts.tokenizer(),
        num_candidates=15,
        batch_tokens=4096,
        dtype=options.dtype,
        device=options.device,
    )
    vectors = random_vectors(frame)
    rate = MatrixRate(options.matrix_dtype, options.device)
    augmenter = Augmenter(masked, vectors, replace_probability=0.4, num_copies=20, seed=0)
    started = time.perf_counter()
    made = pd.concat(augmenter.augment(frame, np.ones(len(frame), dtype=bool)))
    wait_for(options.device)
    seconds = time.perf_counter() - started
    rate.measure()
    lengths = request_lengths(masked, frame)
    alone = one_by_one(masked, frame) * len(lengths)
    return Result(
        "augmentation",
        f"{options.shapes} {name} {len(frame)} rows",
        seconds,
        flops.forward(config, lengths) + flops.masked_head(config, len(lengths)),
        rate,
        sum(lengths),
        len(frame),
        more={
            "rows out": len(made),
            "requests": len(lengths),
            "times faster than one by one": alone / seconds,
        },
    )


def random_vectors(frame: pd.DataFrame) -> "KeyedVectors":
    """Return vectors of the rows' words and of as many others as a small GloVe file has."""
    from gensim.models import KeyedVectors

    sides = [side for side in ("sentence1", "sentence2") if side in frame]
    words = {word.lower() for side in sides for text in frame[side] for word in text.split()}
    names = [*sorted(words), *(f"word{number}" for number in range(OTHER_WORDS))]
    vectors = KeyedVectors(VECTOR_SIZE)
    rng = np.random.default_rng(0)
    vectors.add_vectors(names, rng.standard_normal((len(names), VECTOR_SIZE), dtype=np.float32))
    return vectors


def request_lengths(masked: MaskedWords, frame: pd.DataFrame) -> list[int]:
    """Return the tokens of each distinct request."""
    sides = [side for side in ("sentence1", "sentence2") if side in frame]
    sentences = list(dict.fromkeys(text for side in sides for text in frame[side]))
    found = {
        request.key: request.length
        for requests in masked.requests(sentences)
        for request in requests.values()
    }
    return list(found.values())


@torch.no_grad()
def one_by_one(masked: MaskedWords, frame: pd.DataFrame) -> float:
    """Return the seconds of one request asked alone, the original as its second segment."""
    model, encode = masked.scores.model, masked.tokenizer
    text = sorted(frame["sentence1"], key=len)[len(frame) // 2]
    inputs = encode(text, text, return_tensors="pt", truncation=True, max_length=256)
    inputs = inputs.to(masked.device)
    times = []
    for _ in range(ONE_BY_ONE):
        wait_for(masked.device)
        started = time.perf_counter()
        logits = model(**inputs).logits  # type: ignore[operator]
        logits[0].topk(15)
        wait_for(masked.device)
        times.append(time.perf_counter() - started)
    return median(times)
