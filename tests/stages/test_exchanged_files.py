"""Files that one stage writes and another reads: damaged, or of another task or run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.fetch_teacher import FEW_FOUND, head_doubt
from tests.fixtures.measured import task_info
from tests.fixtures.models import VOCABULARY, save_pretrained
from tests.fixtures.refused import refused
from tinybert.distillation.projections import Projections
from tinybert.distillation.teacher_logits import read_logits
from tinybert.encoders.checkpoints import load_tokenizer
from tinybert.tasks.task import read_augmented, read_named_info, read_split, write_task
from tinybert.text.encoded import Blocks
from tinybert.tracking.histories import read_histories

INFO = task_info("mine", ["bad", "good"], ["accuracy"], pair=False, num_rows={"train": 3})
ROWS = pd.DataFrame({"sentence1": ["a", "b", "c"], "label": [0, 1, 0]})
OTHERS = {
    "fewer rows": ROWS[:2],
    "values": ROWS.assign(label=[0.5, 1.5, 2.0]),
    "more labels": ROWS.assign(label=[0, 1, 2]),
    "pairs": ROWS.assign(sentence2="d")[["sentence1", "sentence2", "label"]],
    "no labels": ROWS[["sentence1"]],
}


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def line_of(read, *arguments) -> str:
    line = refused(read, *arguments)
    assert "dvc repro" in line
    return line


@pytest.mark.parametrize("other", OTHERS)
def test_a_split_of_another_task_or_run_is_refused(tmp_path, other):
    write_task(tmp_path, INFO, {"train": ROWS})
    assert read_split(tmp_path, "train").equals(ROWS)
    OTHERS[other].to_parquet(tmp_path / "train.parquet", index=False)
    assert "as task.json beside it says" in line_of(read_split, tmp_path, "train")


def test_a_description_of_another_task_is_refused(tmp_path):
    write_task(tmp_path, INFO, {})
    assert read_named_info(tmp_path, "mine") == INFO
    assert "must be of task other, got mine" in line_of(read_named_info, tmp_path, "other")


@pytest.mark.parametrize("other", OTHERS)
def test_augmented_rows_of_another_task_or_run_are_refused(tmp_path, other):
    good = ROWS.assign(row=[0, 1, 2])
    good.to_parquet(tmp_path / "train.parquet")
    assert read_augmented(tmp_path, INFO).equals(good)
    frame = OTHERS[other]
    frame.assign(row=range(len(frame))).to_parquet(tmp_path / "train.parquet")
    line = line_of(read_augmented, tmp_path, INFO)
    assert "as task mine has; run `dvc repro --force augment@mine`" in line


def test_augmented_rows_that_are_cut_off_are_refused(tmp_path):
    ROWS.assign(row=[0, 1, 2]).to_parquet(tmp_path / "train.parquet")
    halve(tmp_path / "train.parquet")
    assert "no Parquet" in line_of(read_augmented, tmp_path, INFO)


def write_logits(folder: Path, num_rows: int, num_outputs: int, of: int) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / "rows.npy", np.arange(num_rows))
    np.save(folder / "ends.npy", np.arange(1, num_rows + 1))
    np.save(folder / "logits.npy", np.zeros((num_rows, num_outputs), np.float32))
    about = {"labels": ["bad", "good"], "num_rows": num_rows, "of": of}
    (folder / "teacher_logits.json").write_text(json.dumps(about))


def test_logits_of_other_rows_or_another_task_are_refused(tmp_path):
    folder = tmp_path / "mine"
    write_logits(folder, 4, 2, of=6)
    assert read_logits(folder, 6, 2).values.shape == (4, 2)
    assert "must be of 7 rows, got logits for 6" in line_of(read_logits, folder, 7, 2)
    assert "4 rows of 1 outputs" in line_of(read_logits, folder, 6, 1)
    np.save(folder / "rows.npy", np.array([0, 1, 2, 6]))
    line_of(read_logits, folder, 6, 2)
    np.save(folder / "rows.npy", np.arange(3))
    assert "for 3 rows" in line_of(read_logits, folder, 6, 2)


@pytest.mark.parametrize("name", ["rows.npy", "logits.npy", "ends.npy", "teacher_logits.json"])
def test_logits_that_are_cut_off_or_missing_are_refused(tmp_path, name):
    folder = tmp_path / "mine"
    write_logits(folder, 4, 2, of=6)
    halve(folder / name)
    assert "run `dvc repro --force teacher_logits@mine`" in line_of(read_logits, folder, 6, 2)
    (folder / name).unlink()
    assert "run `dvc repro --force teacher_logits@mine`" in line_of(read_logits, folder, 6, 2)


@pytest.mark.parametrize("name", ["blocks", "first_lengths", "seconds"])
def test_blocks_that_are_cut_off_or_of_another_corpus_are_refused(tmp_path, name):
    np.save(tmp_path / "blocks.npy", np.zeros((5, 16), np.uint16))
    for other in ("first_lengths", "seconds"):
        np.save(tmp_path / f"{other}.npy", np.zeros(5, np.int32))
    assert len(Blocks(tmp_path, seconds=True)) == 5
    np.save(tmp_path / f"{name}.npy", np.zeros((4, 16), np.uint16))
    assert "prepare_corpus" in line_of(lambda: Blocks(tmp_path, seconds=True))
    halve(tmp_path / f"{name}.npy")
    assert "cannot be read" in line_of(lambda: Blocks(tmp_path, seconds=True))


def test_projections_that_are_cut_off_are_refused(tmp_path):
    projections, file = Projections(1, 4, 8, "shared"), tmp_path / "projections.safetensors"
    projections.save(file)
    assert projections.load(file)
    halve(file)
    assert "general_distill" in line_of(projections.load, file)


@pytest.mark.parametrize("content", ["", "step,loss\n1,x\n", "a,b\n1,2\n", '"'])
def test_a_history_that_is_none_is_refused(tmp_path, content):
    file = tmp_path / "training/finetune_teacher/mine.csv"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert "no training log" in line_of(read_histories, [], ["mine"], tmp_path)


@pytest.mark.parametrize(
    ("unused", "fits"), [(128, True), (129, False), (800, True), (1528, False)]
)
def test_a_tokenizer_with_far_fewer_pieces_than_embeddings_is_refused(tmp_path, unused, fits):
    # Padding to a multiple of 64 may leave more embeddings unused.
    size = len(VOCABULARY) + unused
    size += -size % 64 if unused == 800 else 0
    assert unused == 800 or size % 64
    save_pretrained(tmp_path, vocab_size=size)
    if fits:
        load_tokenizer(tmp_path)
        return
    assert f"of which {unused} have none; put the tokenizer" in refused(load_tokenizer, tmp_path)


def test_a_head_that_finds_no_more_than_chance_is_doubted():
    assert not head_doubt(FEW_FOUND)
    assert "got 2.0% of hidden words" in head_doubt(0.02)
