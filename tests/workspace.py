"""A workspace in a temporary folder: tiny teacher, tiny text, own tasks, the project's params."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.models import WORDS, save_pretrained
from tinybert.settings import read_yaml

ROOT = Path(__file__).parent.parent
NOUNS = ["cat", "dog", "bird", "roof", "tree", "house", "river"]
SHAPE = {
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "dropout": 0.1,
}


def make_workspace(folder: Path) -> Path:
    """Fill a folder with all that the stages read; return it."""
    shutil.copytree(ROOT / "params", folder / "params")
    save_pretrained(folder / "data/raw/teacher")
    for name in ("tasks", "corpus", "word_vectors"):
        (folder / "data/raw" / name).mkdir()
    write_corpus(folder / "data/raw/corpus/text.txt")
    write_csv(folder / "data/raw/tasks/reviews.csv", 60)
    write_yaml(folder / "params/tasks/reviews.yaml", REVIEWS)
    write_scores(folder / "data/raw/tasks/scores.tsv", 60)
    write_yaml(folder / "params/tasks/scores.yaml", SCORES)
    for system in ("tinybert_mini", "scratch_mini"):
        edit_yaml(folder / f"params/systems/{system}.yaml", shape=SHAPE)
    write_yaml(folder / "params/profiles/tiny.yaml", tiny_profile())
    params = read_yaml(ROOT / "params.yaml")
    params |= {"profile": "tiny", "tasks": ["reviews", "scores"], "precision": "fp32"}
    params["systems"] = ["tinybert_mini", "scratch_mini"]
    params["sources"] = {name: f"data/raw/{name}" for name in params["sources"]}
    write_yaml(folder / "params.yaml", params)
    return folder


REVIEWS = {
    "files": {"train": "reviews.csv"},
    "columns": {"sentence1": "text", "label": "verdict"},
    "max_length": 64,  # the tiny teacher's positions
}
SCORES = {
    "files": {"train": "scores.tsv"},
    "columns": {"sentence1": "one", "sentence2": "two", "label": "score"},
    "kind": "regression",
    "prediction_data": "original",
    "max_length": 32,
}


def tiny_profile() -> dict[str, Any]:
    """Return the demo profile with steps for seconds."""
    profile = read_yaml(ROOT / "params/profiles/demo.yaml")
    profile["teacher"] |= {"source": "folder", "sha256": None}
    profile["prepare_corpus"] |= {"source": "files", "block_length": 16}
    profile["fetch_teacher"] |= {"max_steps": 3, "masked_lm": True}
    profile["word_vectors"] |= {"vector_size": 8, "min_count": 1, "num_epochs": 1}
    profile["finetune_teacher"] |= {"num_epochs": 2.0, "learning_rates": [1.0e-3, 1.0e-4]}
    profile["general_distill"] |= {"max_steps": 4}
    profile["augment"] |= {"num_copies": 2, "num_candidates": 3}
    profile["intermediate_distill"] |= {"max_steps": 4}
    profile["prediction_distill"] |= {"max_steps": 4}
    profile["benchmark_latency"] |= {
        "batch_sizes": [1],
        "sequence_lengths": [8],
        "num_repeats": 2,
        "num_warmup": 0,
    }
    return profile


def sentences(count: int, seed: int) -> list[str]:
    """Return distinct sentences of the tiny vocabulary."""
    rng = np.random.default_rng(seed)
    words = [word for word in WORDS if word.isalpha()]
    return [" ".join(rng.choice(words, 8)) + f" {NOUNS[i % len(NOUNS)]} ." for i in range(count)]


def write_corpus(file: Path) -> None:
    """Write 200 documents of two paragraphs."""
    lines = sentences(400, 1)
    pairs = zip(lines[::2], lines[1::2], strict=True)
    file.write_text("".join(f"{a}\n{b}\n\n" for a, b in pairs))


def write_csv(file: Path, num_rows: int) -> None:
    """Write a classification task whose label is in the text."""
    rows = [
        f'"{text} {w}",{w}'
        for text, w in zip(sentences(num_rows, 2), ["good", "bad"] * num_rows, strict=False)
    ]
    file.write_text("text,verdict\n" + "\n".join(rows) + "\n")


def write_scores(file: Path, num_rows: int) -> None:
    """Write a regression task over pairs."""
    one, two = sentences(num_rows, 3), sentences(num_rows, 4)
    rows = [f"{a}\t{b}\t{i % 11 / 2}" for i, (a, b) in enumerate(zip(one, two, strict=True))]
    file.write_text("one\ttwo\tscore\n" + "\n".join(rows) + "\n")


def write_yaml(file: Path, values: dict[str, Any]) -> None:
    """Write a YAML file."""
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def edit_yaml(file: Path, **changes: Any) -> None:
    """Change top-level keys of a YAML file."""
    write_yaml(file, {**read_yaml(file), **changes})
