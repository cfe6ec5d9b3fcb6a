"""The embedded task of tagged words through `dvc repro`, with the packaged teacher."""

import json
from pathlib import Path

import pytest
from transformers import pipeline

from tests.fixtures.clones import make_clone, ran, run
from tests.fixtures.workspace import ROOT, edit_yaml, read_yaml, write_yaml

pytestmark = pytest.mark.slow

SYSTEM, TASK = "closed_form_mini", "doc_names"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone with a part of the task's rows, reproduced once."""
    folder = make_clone(tmp_path_factory.mktemp("clone"))
    for name in (f"systems/{SYSTEM}.yaml", "profiles/demo.yaml"):
        (folder / "params" / name).write_text((ROOT / "params" / name).read_text())
    profile = read_yaml(folder / "params/profiles/demo.yaml")
    profile["prepare_corpus"]["max_words"] = 100_000
    profile["finetune_teacher"]["max_steps"] = 100
    profile["intermediate_distill"]["max_steps"] = 40
    write_yaml(folder / "params/profiles/demo.yaml", profile)
    task = folder / f"params/tasks/{TASK}.yaml"
    edit_yaml(task, rows={"train": 600, "dev": 150, "test": 100, "unlabelled": 300})
    edit_yaml(folder / "params.yaml", profile="demo", tasks=[TASK], systems=[SYSTEM])
    run(folder, "git", "commit", "-qam", "names")
    output = run(folder, "dvc", "repro")
    assert {f"prediction_distill@{SYSTEM}-{TASK}", "report", "track"} <= ran(output)
    return folder


def test_names_are_found_by_teacher_and_student(clone):
    found = {
        system: json.loads((clone / f"reports/metrics/{system}/{TASK}.json").read_text())
        for system in ("teacher", SYSTEM)
    }
    teacher, student = (each["metrics"]["dev"]["entity_f1"] for each in found.values())
    assert teacher > 0.4
    assert student > 0.7 * teacher
    assert set(found[SYSTEM]["parts"]["dev"]) >= {"PARAMETER", "FUNCTION", "CLASS"}


def test_the_student_works_in_the_stock_pipeline(clone):
    folder = str(clone / f"models/student/{SYSTEM}/{TASK}")
    tag = pipeline("token-classification", folder, aggregation_strategy="first")
    assert isinstance(tag("The sum of x and y is returned by add."), list)


def test_the_report_shows_types_and_a_second_run_executes_nothing(clone):
    page = (clone / "reports/index.html").read_text()
    assert "By label" in page and "PARAMETER" in page
    assert ran(run(clone, "dvc", "repro")) == set()
