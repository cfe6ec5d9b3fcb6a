"""Students with fewer pieces, or with a tokenizer of their own, go through the stages."""

import json
import string
from contextlib import chdir
from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.fixtures.models import VOCABULARY, save_pretrained
from tests.fixtures.refused import refused
from tests.fixtures.tokenizers import tokenizer_of
from tests.fixtures.workspace import (
    REVIEWS,
    edit_section,
    edit_yaml,
    make_workspace,
    run_stage,
    sentences,
    write_yaml,
)
from tinybert.doctor.workspace import PRETRAINED, look_at_system
from tinybert.encoders.checkpoints import load_classifier, load_config, load_tokenizer
from tinybert.settings.reader import parse, read_yaml
from tinybert.settings.systems import SystemFile
from tinybert.tasks.task import read_info
from tinybert.tasks.task_file import TaskFile
from tinybert.training.grid import dev_scores, dev_split

LETTERS = [prefix + letter for letter in string.ascii_lowercase for prefix in ("", "##")]
PIECES = list(dict.fromkeys([*VOCABULARY, *LETTERS]))
KEPT = 5 + sum(len(piece.removeprefix("##")) == 1 for piece in PIECES) + 12
SYSTEM, FITTED = "tinybert_mini", "closed_form_8k_mini"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Run a distilled and a fitted student with fewer pieces, and one with both keys."""
    folder = make_workspace(tmp_path_factory.mktemp("vocabulary"))
    save_pretrained(folder / "data/raw/teacher", vocabulary=PIECES)
    tokenizer_of("byte_level", 330, tuple(sentences(100, 1))).save_pretrained(folder / "own")
    shape = read_yaml(folder / f"params/systems/{SYSTEM}.yaml")["shape"]
    systems = folder / "params/systems"
    edit_yaml(systems / f"{FITTED}.yaml", shape=shape, vocabulary={"max_pieces": KEPT})
    edit_yaml(systems / f"{SYSTEM}.yaml", vocabulary={"tokenizer": "own", "max_pieces": 300})
    both = read_yaml(systems / f"{FITTED}.yaml") | {"vocabulary": {"tokenizer": "own"}}
    both["intermediate_distill"] |= {"terms": []}
    write_yaml(systems / "both.yaml", both)
    passed = {"intermediate_distill": {"terms": []}, "vocabulary": {"max_pieces": KEPT}}
    edit_yaml(systems / "scratch_mini.yaml", **passed)
    names = [SYSTEM, FITTED, "both", "scratch_mini"]
    edit_yaml(folder / "params.yaml", tasks=["reviews"], systems=names)
    edit_section(folder / "params/profiles/tiny.yaml", "augment", num_copies=0)
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYBERT_DOCTOR", "warn")  # a teacher of two epochs knows nothing
        patch.setenv("DVC_ROOT", str(folder))
        for stage in ("prepare_corpus", "fetch_teacher"):
            run_stage(stage)
        for stage in ("prepare_task", "finetune_teacher", "augment", "teacher_logits"):
            run_stage(stage, "reviews")
        for name in names:
            run_stage("general_distill", name)
            for stage in ("intermediate_distill", "prediction_distill"):
                run_stage(stage, name, "reviews")
        yield folder


@pytest.mark.parametrize(
    ("name", "pieces"), [(SYSTEM, 300), (FITTED, KEPT), ("both", 330), ("scratch_mini", KEPT)]
)
def test_the_student_and_its_tokenizer_have_the_pieces_asked_for(workspace, name, pieces):
    for phase in ("intermediate", "prediction"):
        folder = workspace / "models" / phase / name / "reviews"
        assert len(load_tokenizer(folder)) == load_config(folder).vocab_size == pieces
    student = workspace / "models/prediction" / name / "reviews"
    model = AutoModelForSequenceClassification.from_pretrained(student)
    tokenizer = AutoTokenizer.from_pretrained(student)
    assert model.get_input_embeddings().num_embeddings == pieces
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert model(**tokenizer("the cat sat", return_tensors="pt")).logits.shape == (1, 2)


def test_general_students_have_the_named_tokenizer_and_all_pieces(workspace):
    for name, pieces in ((SYSTEM, 330), ("both", 330), (FITTED, len(PIECES))):
        folder = workspace / "models/general" / name
        assert len(load_tokenizer(folder)) == load_config(folder).vocab_size == pieces


@pytest.mark.parametrize("name", [SYSTEM, FITTED])
def test_every_phase_trains(workspace, name):
    for stage in ("intermediate_distill", "prediction_distill"):
        history = pd.read_csv(workspace / f"reports/training/{stage}/{name}-reviews.csv")
        assert len(history)
        assert history["loss"].notna().all()
    history = pd.read_csv(workspace / f"reports/training/general_distill/{SYSTEM}.csv")
    assert history["loss"].notna().all()
    assert len(history)


def test_a_start_is_scored_as_it_is_cut(workspace):
    found = json.loads((workspace / "reports/start/both-reviews.json").read_text())
    folder, task = workspace / "models/intermediate/both/reviews", workspace / "data/tasks/reviews"
    info, file = read_info(task), parse(TaskFile, REVIEWS, "reviews")
    dev = dev_split(task, load_tokenizer(folder), file.encoding(info), info)
    assert found["score"] == dev_scores(load_classifier(folder), dev, None)()


def test_fewer_pieces_than_can_write_every_text_are_refused(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("TINYBERT_DOCTOR", "warn")
    file = workspace / f"params/systems/{FITTED}.yaml"
    edit_yaml(file, vocabulary={"max_pieces": 20})
    lines = [
        refused(run_stage, "general_distill", FITTED),
        refused(run_stage, "intermediate_distill", FITTED, "reviews"),
    ]
    (wrong, *_) = look_at_system(parse(SystemFile, read_yaml(file), ""), PRETRAINED, {})
    edit_yaml(file, vocabulary={"max_pieces": KEPT})
    assert wrong.level == "wrong"
    for line in (*lines, wrong.line):
        assert line.startswith("vocabulary.max_pieces: special pieces and single characters are ")


def test_the_doctor_says_how_many_pieces_are_kept(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    for name, said in ((FITTED, f"{KEPT} pieces of {len(PIECES)}"), ("both", "330 pieces of 330")):
        system = parse(SystemFile, read_yaml(Path(f"params/systems/{name}.yaml")), "")
        assert said in [found.line for found in look_at_system(system, PRETRAINED, {})]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": "all"}, "write teacher, {max_pieces: 8000} or {tokenizer: folder}"),
        ({"vocabulary": {}}, "says nothing, got {}"),
        ({"vocabulary": {"max_piece": 9}}, "did you mean 'max_pieces'?"),
        ({"vocabulary": None}, "vocabulary: says nothing, got None"),
        (
            {"vocabulary": {"tokenizer": "x"}, "general_distill": {"terms": ["mlm"]}},
            "general_distill hides the teacher's words, got 'x'",
        ),
        (
            {"prediction_distill": {"terms": [], "classifier": "teacher"}},
            "classifier teacher is the teacher itself",
        ),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused_in_one_line(workspace, changes, message):
    values = read_yaml(workspace / f"params/systems/{FITTED}.yaml") | changes
    assert message in refused(parse, SystemFile, values, "file")


def test_a_file_without_the_key_is_told_what_to_write(workspace):
    values = read_yaml(workspace / f"params/systems/{FITTED}.yaml")
    values.pop("vocabulary")
    line = refused(parse, SystemFile, values, "params/systems/mine.yaml")
    assert line == (
        "params/systems/mine.yaml: vocabulary: is missing, got nothing; write `vocabulary: teacher`"
    )
