"""Without copies the teacher runs once over a task's rows, and its student is the same."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.fixtures.training import counted
from tests.fixtures.workspace import edit_section, edit_yaml, make_workspace, run_stage
from tinybert.closed_form import start
from tinybert.distillation import teacher_states
from tinybert.distillation.teacher import Teacher

PROFILE = Path("params/profiles/tiny.yaml")
STUDENT = Path("models/intermediate/tinybert_mini/reviews/model.safetensors")
LOGITS = Path("data/teacher_logits/reviews/logits.npy")
KEPT = "keeps the teacher's states"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> Path:
    """A workspace with a fine-tuned teacher and a general student, in which storing pays."""
    folder = make_workspace(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setattr(teacher_states, "BYTES_PER_SECOND", 1e15)
    edit_section(PROFILE, "augment", num_copies=0)
    edit_section(PROFILE, "fetch_teacher", masked_lm=False)
    for stage in ("prepare_corpus", "fetch_teacher", "word_vectors"):
        run_stage(stage)
    for stage in ("prepare_task", "finetune_teacher", "augment"):
        run_stage(stage, "reviews")
    run_stage("general_distill", "tinybert_mini")
    return folder


def student_and_logits(monkeypatch, capsys, keeps: bool) -> tuple[bytes, bytes, int]:
    """Run both stages; return what they made, and the passes of the second one's teacher."""
    gigabytes = 20.0 if keeps else 0.0
    edit_section(PROFILE, "intermediate_distill", max_stored_gigabytes=gigabytes)
    run_stage("teacher_logits", "reviews")
    assert (KEPT in capsys.readouterr().out) == keeps
    edit_section(PROFILE, "intermediate_distill", max_stored_gigabytes=20.0)
    with monkeypatch.context() as patch:
        passes = counted(patch, Teacher, "signals")
        run_stage("intermediate_distill", "tinybert_mini", "reviews")
    assert not list(Path("checkpoints/teacher_states").rglob("states.raw"))
    return STUDENT.read_bytes(), LOGITS.read_bytes(), len(passes)


def test_the_student_reads_what_the_logits_pass_kept_and_is_the_same(monkeypatch, capsys):
    *kept, no_passes = student_and_logits(monkeypatch, capsys, keeps=True)
    *own, passes = student_and_logits(monkeypatch, capsys, keeps=False)
    assert kept == own
    assert no_passes == 0 < passes


def test_a_fitted_head_reads_them_too_and_is_the_same(monkeypatch, capsys):
    phase = {"start": "closed_form", "terms": ["attention", "hidden", "embedding"]}
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), intermediate_distill=phase)
    heads, weights = counted(monkeypatch, start, "head_targets"), []
    for num_heads, keeps in enumerate([True, False]):
        student_and_logits(monkeypatch, capsys, keeps=keeps)
        weights.append(load_file(STUDENT))
        assert len(heads) == num_heads
    for name, found in weights[0].items():
        torch.testing.assert_close(found, weights[1][name], atol=1e-4, rtol=1e-3)


def test_with_copies_each_student_has_a_pass_of_its_own(capsys):
    edit_section(PROFILE, "fetch_teacher", masked_lm=True)
    run_stage("fetch_teacher")
    edit_section(PROFILE, "augment", num_copies=2)
    run_stage("word_vectors")
    run_stage("augment", "reviews")
    run_stage("teacher_logits", "reviews")
    assert KEPT not in capsys.readouterr().out
