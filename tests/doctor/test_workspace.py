"""`make doctor` in a workspace where little or nothing has run."""

import shutil
import subprocess
from contextlib import chdir
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from stages import _doctor
from tests.fixtures.models import save_pretrained
from tests.fixtures.workspace import (
    ROOT,
    SHAPE,
    edit_section,
    edit_yaml,
    make_workspace,
    run_stage,
)
from tinybert.doctor.forecast import Sample, augmented, of_phase, random_rows
from tinybert.runtime.errors import InputError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A workspace with one prepared task, in a repository with a commit."""
    folder = make_workspace(tmp_path_factory.mktemp("prepared"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "dvc.yaml"], [*who, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    with chdir(folder):
        run_stage("prepare_task", "reviews")
    return folder


@pytest.fixture
def workspace(prepared, tmp_path, monkeypatch) -> Path:
    folder = shutil.copytree(prepared, tmp_path / "workspace")
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
    for task in ("reviews", "scores"):
        assert f" finetune_teacher {task} " in printed.out
    assert printed.err.count("WRONG") == 0


def test_copies_without_the_word_vectors_that_they_need_are_told(workspace, capsys):
    edit_section(Path("params/profiles/tiny.yaml"), "word_vectors", source="file")
    for file in Path("data/raw/word_vectors").glob("*"):
        file.unlink()
    assert not _doctor.main(None, None)
    assert "data/raw/word_vectors: must be a file of word vectors" in capsys.readouterr().err
    (Path("data/raw/word_vectors") / "glove.txt").write_text("a 1 2\n")
    assert _doctor.main(None, None)


def test_a_teacher_that_will_not_read_every_row_is_told_before_and_in_its_stage(workspace, capsys):
    profile = Path("params/profiles/tiny.yaml")
    edit_section(profile, "finetune_teacher", max_steps=1, batch_sizes=[2])
    line = "finetune_teacher reads 2 of 54 training rows; `-S profile=own-task` reads up to 48,000"
    _doctor.main("scratch_mini", "reviews")
    assert f"reviews: DOUBT: {line}" in capsys.readouterr().out
    shutil.copytree("data/raw/teacher", "models/pretrained")
    run_stage("finetune_teacher", "reviews")
    assert f"finetune_teacher reviews: doubt: {line}" in capsys.readouterr().out


def test_the_forecast_is_of_the_systems_own_length(workspace, capsys):
    edit_section(Path("params/systems/tinybert_mini.yaml"), "general_distill", steps_scale=30)
    assert _doctor.main("tinybert_mini", "reviews")
    (line,) = [
        line.split()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(" general_distill tinybert_mini ")
    ]
    assert line[2] == "120"  # 30 times the profile's 4


def test_a_teacher_is_forecast_by_its_own_rows_and_one_that_is_given_is_not(workspace, capsys):
    profile, task = Path("params/profiles/tiny.yaml"), Path("params/tasks/reviews.yaml")
    sizes = {"max_steps": None, "batch_sizes": [9, 6], "batches": "rows", "num_epochs": 2.0}
    edit_section(profile, "finetune_teacher", **sizes, learning_rates=[1e-3])
    edit_section(profile, "augment", num_copies=3)
    _doctor.main("scratch_mini", "reviews")
    start, lines = " finetune_teacher reviews ", capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith(start))
    assert line.split()[2] == "30"  # of 54 rows twice: 6 and 9 steps an epoch
    edit_yaml(task, teacher="data/raw/teacher")
    _doctor.main("scratch_mini", "reviews")
    assert start not in capsys.readouterr().out


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
    lines = wrong_lines(capsys.readouterr().err)
    assert len(lines) == 2
    assert (
        "tinybert_mini: WRONG: shape.num_attention_heads: attention distillation needs" in lines[0]
    )
    assert "reviews: WRONG: models/teacher/reviews: the teacher is not fine-tuned" in lines[1]


def test_each_phase_has_its_own_relations(workspace, capsys):
    file = workspace / "params/systems/tinybert_mini.yaml"
    edit_section(file, "intermediate_distill", terms=["relations"], relation_heads=8)
    assert _doctor.main("tinybert_mini", "reviews")  # the general phase's 12 are not asked for
    assert "8 relation heads" in capsys.readouterr().out
    edit_section(file, "intermediate_distill", relation_heads=16)
    assert not _doctor.main("tinybert_mini", "reviews")
    (line,) = wrong_lines(capsys.readouterr().err)
    assert "width 16 and the teacher's 24, got 16; write one of 1, 2, 4, 8" in line


def test_a_teacher_with_another_vocabulary_is_matched_where_pieces_meet(workspace, capsys):
    folder = save_pretrained(workspace / "models/teacher/reviews")
    (folder / "tokenizer.json").write_text(
        (folder / "tokenizer.json").read_text().replace('"cat"', '"cow"')
    )
    edit_yaml(workspace / "params/systems/closed_form_mini.yaml", shape=SHAPE)
    says_so = {"closed_form_mini": True, "tinybert_mini": True, "scratch_mini": False}
    for system, says in says_so.items():
        _doctor.main(system, "reviews")
        printed = capsys.readouterr()
        assert "share one vocabulary" not in printed.err
        assert ("what its pieces share with the students' is matched" in printed.out) == says


def test_sources_that_are_not_there_are_wrong(workspace, capsys):
    shutil.rmtree(workspace / "data/raw/word_vectors")
    assert not _doctor.main(None, None)
    assert "params.yaml: sources.word_vectors: no such file or folder" in capsys.readouterr().err


def test_a_phases_rows_are_counted_as_it_reads_them():
    rows = random_rows(8, 100)
    sample = Sample(rows, num_rows=1000, num_original=50, num_unlabelled=400)
    counts = {
        data: of_phase(sample, data, 300, 200).num_rows
        for data in ("original", "augmented", "unlabelled", "all")
    }
    assert counts == {"original": 50, "augmented": 300, "unlabelled": 250, "all": 500}
    unknown = sample._replace(num_unlabelled=None)
    assert of_phase(unknown, "all").num_rows is None
    assert of_phase(unknown, "augmented").num_rows == 1000


def test_augmented_rows_are_counted_as_algorithm_1_makes_them():
    # 1000 of 3668 rows get 20 copies each, and every row stays.
    assert augmented(3668, 20, 1000) == 3668 + 20_000
    assert augmented(450, 20, 1000) == augmented(450, 20, None) == 450 * 21


def damaged(folder: Path) -> Path:
    """Give the weights of a checkpoint names that no architecture has."""
    file = folder / "model.safetensors"
    weights = {f"mine.{name}": value for name, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def wrong_lines(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if "WRONG" in line]


def test_a_teacher_whose_weights_are_not_loaded_is_wrong_as_in_the_stage(workspace, capsys):
    run_stage("prepare_corpus")
    damaged(workspace / "data/raw/teacher")
    with pytest.raises(InputError) as caught:
        run_stage("fetch_teacher")
    assert "got 37 of 37 missing (" in str(caught.value)
    assert not (workspace / "models/pretrained").exists()
    assert not _doctor.main(None, None)
    assert f"teacher: WRONG: {caught.value.problems[0].split(':')[0]}" in capsys.readouterr().err


def test_the_source_is_looked_at_even_where_an_earlier_teacher_lies(workspace, capsys):
    save_pretrained(workspace / "models/pretrained")
    damaged(workspace / "data/raw/teacher")
    assert not _doctor.main(None, None)
    (line,) = wrong_lines(capsys.readouterr().err)
    assert "data/raw/teacher: the encoder's weights are not those" in line


def test_a_students_checkpoint_and_a_tasks_teacher_are_loaded_as_well(workspace, capsys):
    for name in ("start", "ready"):
        damaged(save_pretrained(workspace / name))
    system = workspace / "params/systems/tinybert_mini.yaml"
    edit_yaml(system, initialisation={"checkpoint": "start"})
    edit_yaml(workspace / "params/tasks/scores.yaml", teacher="ready")
    assert not _doctor.main("tinybert_mini", "scores")
    lines = wrong_lines(capsys.readouterr().err)
    assert ["start:" in lines[0], "ready:" in lines[1]] == [True, True]
    assert all("the encoder's weights are not those" in line for line in lines)
    assert len(lines) == 2
    edit_yaml(workspace / "params/tasks/scores.yaml", teacher=None)
    for name in ("prepare_corpus", "fetch_teacher"):
        shutil.rmtree(workspace / "checkpoints", ignore_errors=True)
        run_stage(name)
    with pytest.raises(InputError, match="start: the encoder's weights are not those"):
        run_stage("general_distill", "tinybert_mini")


def test_without_git_the_doctor_says_what_to_type(workspace, capsys, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workspace.parent))
    shutil.rmtree(".git")
    assert not _doctor.main("scratch_mini", "reviews")
    assert "git: WRONG: " in (said := capsys.readouterr().err)
    assert "`git init && git add -A && git commit -m start`" in said
