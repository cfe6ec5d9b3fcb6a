"""A RoBERTa teacher runs through every stage; what it cannot do is said at the first of them."""

from pathlib import Path

import pandas as pd
import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaForMaskedLM, RobertaTokenizerFast

from stages import _doctor
from tests.fixtures.models import tiny_roberta
from tests.fixtures.refused import refused
from tests.fixtures.workspace import (
    REVIEWS,
    edit_section,
    edit_yaml,
    make_workspace,
    run_stage,
    sentences,
)
from tinybert.runtime.errors import InputError

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
REFUSED = (
    "augment.num_copies: augmentation needs a WordPiece tokenizer with a mask, got the teacher's"
)


def save_roberta(folder: Path) -> None:
    """Write a RoBERTa of 64 usable positions with a byte-level tokenizer."""
    for file in folder.iterdir():
        file.unlink()
    pieces = ByteLevelBPETokenizer()
    pieces.train_from_iterator(sentences(300, 1), vocab_size=400, special_tokens=SPECIAL)
    pieces.save_model(str(folder))
    files = {"vocab": str(folder / "vocab.json"), "merges": str(folder / "merges.txt")}
    tokenizer = RobertaTokenizerFast(**files)
    tokenizer.save_pretrained(folder)
    RobertaForMaskedLM(tiny_roberta(vocab_size=len(tokenizer))).save_pretrained(folder)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = make_workspace(tmp_path_factory.mktemp("roberta"))
    save_roberta(folder / "data/raw/teacher")
    return folder


@pytest.fixture(autouse=True)
def inside(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("DVC_ROOT", str(workspace))


def set_copies(number: int) -> None:
    edit_section(Path("params/profiles/tiny.yaml"), "augment", num_copies=number)


def test_copies_are_refused_by_the_doctor_and_before_the_first_long_stage(capsys):
    set_copies(2)
    run_stage("prepare_corpus")
    line = refused(run_stage, "fetch_teacher")
    assert line.startswith(REFUSED)
    assert not _doctor.main("tinybert_mini", "reviews")
    assert f"teacher: WRONG: {line}" in capsys.readouterr().err


def test_too_long_rows_are_refused_before_a_pass(capsys):
    set_copies(0)
    run_stage("prepare_corpus")
    run_stage("fetch_teacher")
    run_stage("prepare_task", "reviews")
    edit_yaml(Path("params/tasks/reviews.yaml"), max_length=65)
    with pytest.raises(InputError, match=r"max_length: longer than the teacher's 64 positions"):
        run_stage("finetune_teacher", "reviews")
    edit_yaml(Path("params/tasks/reviews.yaml"), max_length=REVIEWS["max_length"])


@pytest.mark.slow  # test_teacher_kinds has such a teacher too
def test_without_copies_every_stage_runs(monkeypatch, capsys):
    monkeypatch.setenv("TINYBERT_DOCTOR", "warn")  # a teacher of two epochs knows nothing
    set_copies(0)
    for stage in ("prepare_corpus", "fetch_teacher"):
        run_stage(stage)
    for stage in ("prepare_task", "finetune_teacher", "augment"):
        run_stage(stage, "reviews")
    augmented = pd.read_parquet("data/augmented/reviews/train.parquet")
    assert augmented["row"].tolist() == list(range(len(augmented)))
    run_stage("general_distill", "tinybert_mini")
    run_stage("teacher_logits", "reviews")
    for stage in ("intermediate_distill", "prediction_distill", "evaluate"):
        run_stage(stage, "tinybert_mini", "reviews")
    run_stage("benchmark_latency", "tinybert_mini")
    assert Path("reports/metrics/tinybert_mini/reviews.json").is_file()
    assert Path("reports/latency/tinybert_mini.json").is_file()
