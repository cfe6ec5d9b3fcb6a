"""`make doctor` in a workspace where little or nothing has run."""

import importlib
import os
import shutil
from pathlib import Path

import pytest

from stages import _doctor
from tests.models import VOCABULARY, save_pretrained
from tests.workspace import SHAPE, edit_yaml, make_workspace
from tinybert.doctor.forecast import augmented


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A workspace with one prepared task."""
    folder = make_workspace(tmp_path_factory.mktemp("prepared"))
    before = Path.cwd()
    os.chdir(folder)
    try:
        importlib.import_module("stages.prepare_task").main("reviews")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def workspace(prepared, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "workspace"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    return folder


def test_before_anything_ran_it_says_what_is_missing_and_forecasts_every_stage(workspace, capsys):
    assert _doctor.main(None, None)
    printed = capsys.readouterr()
    assert "corpus not prepared yet: `dvc repro prepare_corpus`" in printed.out
    assert "no teacher yet: `dvc repro finetune_teacher@reviews`" in printed.out
    assert "task not prepared yet: `dvc repro prepare_task@scores`" in printed.out
    assert "layers 1<-2" in printed.out
    for stage in ("general_distill tinybert_mini ", "prediction_distill scratch_mini scores "):
        assert f" {stage}" in printed.out
    assert "general_distill scratch_mini" not in printed.out  # it has no general phase
    assert printed.err.count("WRONG") == 0


def test_one_system_and_one_task_can_be_asked_for(workspace, capsys):
    assert _doctor.main("scratch_mini", "reviews")
    printed = capsys.readouterr().out
    assert "tinybert_mini" not in printed
    assert "scores" not in printed


def test_everything_wrong_is_told_at_once_with_its_cure(workspace, capsys):
    edit_yaml(
        workspace / "params/systems/tinybert_mini.yaml", shape={**SHAPE, "num_attention_heads": 2}
    )
    edit_yaml(workspace / "params/systems/scratch_mini.yaml", shape=SHAPE)
    save_pretrained(workspace / "models/teacher/reviews")  # never fine-tuned
    assert not _doctor.main(None, None)
    lines = [line for line in capsys.readouterr().err.splitlines() if "WRONG" in line]
    assert len(lines) == 2
    assert (
        "tinybert_mini: WRONG: shape.num_attention_heads: attention distillation needs" in lines[0]
    )
    assert "reviews: WRONG: models/teacher/reviews: the teacher is not fine-tuned" in lines[1]


def test_a_teacher_with_another_vocabulary_is_wrong_where_layers_are_matched(workspace, capsys):
    folder = save_pretrained(workspace / "models/teacher/reviews")
    (folder / "tokenizer.json").write_text(
        (folder / "tokenizer.json").read_text().replace('"cat"', '"cow"')
    )
    assert not _doctor.main("tinybert_mini", "reviews")
    lines = capsys.readouterr().err
    assert "models/teacher/reviews: student and teacher must share one vocabulary" in lines
    assert f"got {len(VOCABULARY)} and {len(VOCABULARY)} pieces, 2 of them differ" in lines
    _doctor.main("scratch_mini", "reviews")
    assert "share one vocabulary" not in capsys.readouterr().err


def test_sources_that_are_not_there_are_wrong(workspace, capsys):
    shutil.rmtree(workspace / "data/raw/word_vectors")
    assert not _doctor.main(None, None)
    assert "params.yaml: sources.word_vectors: no such file or folder" in capsys.readouterr().err


def test_augmented_rows_are_counted_as_algorithm_1_makes_them():
    # 1000 of 3668 rows get 20 copies each, and every row stays.
    assert augmented(3668, 20, 1000) == 3668 + 20_000
    assert augmented(450, 20, 1000) == augmented(450, 20, None) == 450 * 21
