"""A student with another tokenizer than its teacher's goes through every stage."""

from contextlib import chdir
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import BertModel, RobertaForMaskedLM

from tests.fixtures.models import tiny_config, tiny_roberta
from tests.fixtures.slow import slow_but
from tests.fixtures.tokenizers import tokenizer_of
from tests.fixtures.workspace import (
    SHAPE,
    edit_section,
    edit_yaml,
    make_workspace,
    run_stage,
    sentences,
    write_yaml,
)
from tests.stages.test_kinds import TASK_FILES, write_answers, write_several, write_tags
from tinybert.encoders.checkpoints import load_tokenizer
from tinybert.text.alignment import same_tokenizer

SYSTEM = "tinybert_mini"
TASKS = ("reviews", *TASK_FILES)
LENGTHS = {"reviews": 24, "several": 12, "tags": 14, "answers": 40}


def save_teacher(folder: Path) -> None:
    """Write a RoBERTa with a byte-level tokenizer."""
    for file in folder.iterdir():
        file.unlink()
    tokenizer = tokenizer_of("byte_level", 330, tuple(sentences(100, 1)))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = tiny_roberta(vocab_size=len(tokenizer), pad_token_id=0)
    RobertaForMaskedLM(config).save_pretrained(folder)


def save_student(folder: Path) -> None:
    """Write a BERT with a small WordPiece vocabulary of its own."""
    tokenizer = tokenizer_of("wordpiece", 60, tuple(sentences(100, 1)))
    tokenizer.save_pretrained(folder)
    shape = {key: value for key, value in SHAPE.items() if key != "dropout"}
    torch.manual_seed(1)
    BertModel(tiny_config(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Run the stages of every kind once; tests look at what they left."""
    folder = make_workspace(tmp_path_factory.mktemp("workspace"))
    save_teacher(folder / "data/raw/teacher")
    save_student(folder / "data/raw/student")
    raw = folder / "data/raw/tasks"
    write_several(raw / "several.jsonl")
    write_tags(raw / "tags.conll")
    write_answers(raw / "answers.json")
    for task, content in TASK_FILES.items():
        write_yaml(folder / f"params/tasks/{task}.yaml", content)
    for task, length in LENGTHS.items():
        edit_yaml(folder / f"params/tasks/{task}.yaml", max_length=length)
    edit_yaml(folder / "params.yaml", tasks=list(TASKS), systems=[SYSTEM])
    start = {"checkpoint": "data/raw/student"}
    edit_yaml(folder / f"params/systems/{SYSTEM}.yaml", initialisation=start, layer_map="uniform")
    profile = folder / "params/profiles/tiny.yaml"
    edit_section(profile, "augment", num_copies=0)
    edit_section(profile, "finetune_teacher", num_epochs=2.0, learning_rates=[1e-3])
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYBERT_DOCTOR", "warn")  # a teacher of two epochs knows nothing
        patch.setenv("DVC_ROOT", str(folder))
        for stage in ("prepare_corpus", "fetch_teacher"):
            run_stage(stage)
        run_stage("general_distill", SYSTEM)
        yield folder


FAST = ("answers",)  # test_carried_logits places texts, windows and words too


@pytest.mark.parametrize("task", slow_but(FAST, TASKS))
def test_every_phase_trains_and_is_scored_and_keeps_the_students_tokenizer(workspace, task):
    for stage in ("prepare_task", "finetune_teacher", "augment", "teacher_logits"):
        run_stage(stage, task)
    for stage in ("intermediate_distill", "prediction_distill", "evaluate"):
        run_stage(stage, SYSTEM, task)
    own = load_tokenizer(workspace / "data/raw/student")
    made = [f"{stage}/{SYSTEM}/{task}" for stage in ("intermediate", "prediction")]
    for folder in (f"general/{SYSTEM}", *made):
        assert same_tokenizer(load_tokenizer(workspace / "models" / folder), own)
    assert not same_tokenizer(load_tokenizer(workspace / "models/teacher" / task), own)
    for stage, name in (
        ("general_distill", SYSTEM),
        ("intermediate_distill", f"{SYSTEM}-{task}"),
        ("prediction_distill", f"{SYSTEM}-{task}"),
    ):
        history = pd.read_csv(workspace / f"reports/training/{stage}/{name}.csv")
        assert len(history)
        assert history["loss"].notna().all()
    assert (workspace / f"reports/metrics/{SYSTEM}/{task}.json").is_file()
    if task == TASKS[0]:
        run_stage("benchmark_latency", SYSTEM)
