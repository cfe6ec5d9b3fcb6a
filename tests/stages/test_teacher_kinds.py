"""A teacher of every kind goes through each phase, and is matched as its kind can be."""

import json
from pathlib import Path

import pytest

from stages import _doctor
from tests.fixtures.refused import refused
from tests.fixtures.teachers import save_teacher
from tests.fixtures.workspace import edit_section, edit_yaml, make_workspace, run_stage
from tinybert.encoders.checkpoints import load_classifier

SYSTEM = "tinybert_mini"
# Whether attention scores are matched as they are, and whether a student starts in closed form.
KINDS = {
    "bert": (True, True),
    "roberta": (True, True),
    "xlm-roberta": (True, True),
    "electra": (True, True),
    "camembert": (True, True),
    "distilbert": (True, True),
    "mpnet": (False, True),
    "deberta-v2": (False, True),
    "modernbert": (False, False),
    "albert": (True, False),
    "big_bird": (False, True),
    "convbert": (False, False),
    "data2vec-text": (True, True),
    "ernie": (True, True),
    "flaubert": (False, False),
    "gte": (False, False),
    "luke": (False, True),
    "megatron-bert": (False, False),
    "mobilebert": (True, False),
    "nomic_bert": (False, False),
    "nystromformer": (False, True),
    "rembert": (False, True),
    "roformer": (False, True),
    "squeezebert": (False, False),
    "xlm": (False, False),
}
FAST = ("deberta-v2",)


def kinds() -> list:
    marks = {False: [pytest.mark.slow], True: []}
    return [pytest.param(kind, marks=marks[kind in FAST]) for kind in KINDS]


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    folder = make_workspace(tmp_path)
    for file in (folder / "data/raw/teacher").iterdir():
        file.unlink()
    edit_section(folder / "params/profiles/tiny.yaml", "augment", num_copies=0)
    edit_section(folder / "params/profiles/tiny.yaml", "finetune_teacher", num_epochs=1.0)
    file = folder / f"params/systems/{SYSTEM}.yaml"
    edit_section(file, "general_distill", relation_heads=2)
    edit_section(file, "intermediate_distill", relation_heads=2)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("TINYBERT_DOCTOR", "off")
    return folder


def until_teacher() -> None:
    for stage in ("prepare_corpus", "fetch_teacher"):
        run_stage(stage)
    for stage in ("prepare_task", "finetune_teacher", "augment", "teacher_logits"):
        run_stage(stage, "reviews")


@pytest.mark.parametrize("kind", kinds())
def test_a_teacher_of_every_kind_runs_through_every_phase(workspace, kind, capsys):
    by_scores, fits = KINDS[kind]
    save_teacher(workspace / "data/raw/teacher", kind)
    until_teacher()
    capsys.readouterr()
    run_stage("general_distill", SYSTEM)
    run_stage("intermediate_distill", SYSTEM, "reviews")
    said = [line for line in capsys.readouterr().out.splitlines() if "instead of" in line]
    assert len(said) == (0 if by_scores else 2)  # one line of each stage
    assert all("matches relations" in line and kind in line for line in said)
    term = "attention" if by_scores else "relations"
    for name in (f"general_distill/{SYSTEM}", f"intermediate_distill/{SYSTEM}-reviews"):
        assert f"loss/{term}" in Path(f"reports/training/{name}.csv").read_text()
    for stage in ("prediction_distill", "evaluate"):
        run_stage(stage, SYSTEM, "reviews")
    metrics = json.loads(Path(f"reports/metrics/{SYSTEM}/reviews.json").read_text())
    assert 0 <= metrics["metrics"]["dev"]["accuracy"] <= 1
    assert load_classifier(Path(f"models/prediction/{SYSTEM}/reviews")).config.model_type == "bert"
    assert load_classifier(Path("models/teacher/reviews")).config.model_type == kind
    edit_section(Path(f"params/systems/{SYSTEM}.yaml"), "intermediate_distill", start="closed_form")
    if fits:
        run_stage("intermediate_distill", SYSTEM, "reviews")
    else:
        line = refused(run_stage, "intermediate_distill", SYSTEM, "reviews")
        assert "closed form: the teacher must be built like BERT" in line and kind in line


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["modernbert", "deberta-v2"])
def test_the_whole_pipeline_runs_with_a_teacher_that_is_not_like_bert(
    workspace, kind, monkeypatch, capsys
):
    monkeypatch.setenv("TINYBERT_DOCTOR", "warn")  # a teacher of one epoch knows nothing
    save_teacher(workspace / "data/raw/teacher", kind)
    until_teacher()
    assert f"{SYSTEM}: " in looked_at(capsys)
    run_stage("general_distill", SYSTEM)
    for stage in ("intermediate_distill", "prediction_distill", "evaluate"):
        run_stage(stage, SYSTEM, "reviews")
    run_stage("export", SYSTEM, "reviews")
    run_stage("benchmark_latency", SYSTEM)
    run_stage("model_card", SYSTEM, "reviews")
    edit_yaml(Path("params.yaml"), tasks=["reviews"], systems=[SYSTEM])
    run_stage("report")
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    run_stage("track")
    assert SYSTEM in Path("reports/index.html").read_text()
    student = load_classifier(Path(f"models/student/{SYSTEM}/reviews"))
    assert student.config.num_attention_heads == 4


def looked_at(capsys) -> str:
    """Return what the doctor says of the system; nothing is wrong with it."""
    capsys.readouterr()
    _doctor.main(SYSTEM, "reviews")
    said = capsys.readouterr()
    assert f"{SYSTEM}: WRONG" not in said.err
    return said.out
