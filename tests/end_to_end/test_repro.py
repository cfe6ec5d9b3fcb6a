"""The real `dvc repro` in a clone: it runs, then runs nothing, then only what a change touches."""

import time
from pathlib import Path

import pytest

from tests.fixtures.clones import make_clone, ran, run
from tests.fixtures.workspace import edit_yaml, read_yaml

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone, reproduced once."""
    folder = make_clone(tmp_path_factory.mktemp("clone"))
    run(folder, "dvc", "repro")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "reproduced")
    return folder


def test_a_second_repro_executes_nothing_within_five_seconds(clone):
    started = time.monotonic()
    output = run(clone, "dvc", "repro")
    assert ran(output) == set()
    assert "up to date" in output
    assert time.monotonic() - started < 5


def test_every_stage_left_what_the_table_needs(clone):
    table = (clone / "reports/tables/results.csv").read_text()
    assert all(system in table for system in ("teacher", "tinybert_mini", "scratch_mini"))


def test_the_attention_weight_reruns_distillation_and_what_follows_and_nothing_before(clone):
    output = run(clone, "dvc", "exp", "run", "-S", "loss.attn_weight=0.5")
    stages = {name.split("@")[0] for name in ran(output)}
    assert "general_distill" in stages
    assert "intermediate_distill" in stages
    before = {"fetch_teacher", "prepare_corpus", "word_vectors", "prepare_task"}
    assert not stages & (before | {"finetune_teacher", "augment"})
    run(clone, "git", "checkout", "-q", "--", ".")
    run(clone, "dvc", "checkout", "-q")


def test_a_change_to_one_task_reruns_that_task_alone(clone):
    file = clone / "params/tasks/reviews.yaml"
    before = read_yaml(file)
    edit_yaml(file, max_length=24)
    stages = ran(run(clone, "dvc", "repro"))
    assert "evaluate@tinybert_mini-reviews" in stages
    others = {name for name in stages if "@" in name and not name.endswith("reviews")}
    # Speed is measured on the first task's student, and stands on the card of each.
    assert {name.split("@")[0] for name in others} <= {"benchmark_latency", "model_card"}
    edit_yaml(file, **before)


def test_another_weight_of_the_prediction_term_leaves_the_phases_before(clone):
    params = read_yaml(clone / "params.yaml")
    edit_yaml(clone / "params.yaml", loss={**params["loss"], "temperature": 2.0})
    stages = {name.split("@")[0] for name in ran(run(clone, "dvc", "repro"))}
    assert "prediction_distill" in stages
    assert not stages & {"general_distill", "intermediate_distill", "augment"}
