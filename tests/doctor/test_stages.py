"""Every stage that uses a task's teacher refuses a wrong one, or goes on where it is told to."""

import json
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest

from stages.augment import write_without_copies
from tests.fixtures.models import save_pretrained
from tests.fixtures.workspace import REVIEWS, make_workspace, run_stage, write_yaml
from tinybert.doctor.findings import MODE
from tinybert.runtime.errors import InputError
from tinybert.tasks.task import read_split

STAGES = (
    ("finetune_teacher", "reviews"),
    ("teacher_logits", "reviews"),
    ("intermediate_distill", "tinybert_mini", "reviews"),
    ("prediction_distill", "tinybert_mini", "reviews"),
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A workspace whose task's teacher was never fine-tuned, up to the last stage."""
    folder = make_workspace(tmp_path_factory.mktemp("workspace"))
    with chdir(folder):
        write_yaml(folder / "params/tasks/reviews.yaml", {**REVIEWS, "teacher": "a_teacher"})
        run_stage("prepare_task", "reviews")
        for place in ("a_teacher", "models/teacher/reviews", "models/general/tinybert_mini"):
            save_pretrained(folder / place)
        save_pretrained(folder / "models/intermediate/tinybert_mini/reviews")
        train = read_split(Path("data/tasks/reviews"), "train")
        write_without_copies(train, Path("data/augmented/reviews"))
        write_logits(folder / "data/teacher_logits/reviews", len(train))
        yield folder


def write_logits(folder: Path, num_rows: int) -> None:
    """Write logits of every row, as `teacher_logits` would of a fine-tuned teacher."""
    folder.mkdir(parents=True)
    np.save(folder / "rows.npy", np.arange(num_rows))
    np.save(folder / "logits.npy", np.zeros((num_rows, 2), dtype=np.float32))
    about = {"labels": ["bad", "good"], "num_rows": num_rows, "of": num_rows}
    (folder / "teacher_logits.json").write_text(json.dumps(about))


@pytest.mark.parametrize(("stage", "arguments"), [(name, rest) for name, *rest in STAGES])
def test_an_unfinetuned_teacher_is_refused_at_the_start(workspace, stage, arguments):
    with pytest.raises(InputError, match="the teacher is not fine-tuned for reviews"):
        run_stage(stage, *arguments)


def test_told_to_warn_a_stage_goes_on(workspace, monkeypatch, capsys):
    monkeypatch.setenv(MODE, "warn")
    run_stage("intermediate_distill", "tinybert_mini", "reviews")
    printed = capsys.readouterr().out
    place = "intermediate_distill tinybert_mini reviews: "
    assert f"{place}WRONG, gone on with: models/teacher/reviews: the teacher" in printed
    assert f"{place}width 24 to 24 per layer; 4 heads; layers 1<-1 2<-2" in printed
    assert f"{place}first losses: attention " in printed
    assert Path("models/intermediate/tinybert_mini/reviews/model.safetensors").is_file()
