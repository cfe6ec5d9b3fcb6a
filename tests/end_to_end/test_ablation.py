"""Ablations of the real stages: what is shared runs once, and MLflow has each experiment."""

import shutil
import sys

import mlflow
import pandas as pd
import pytest

from tests.fixtures.clones import make_clone, ran, run
from tests.fixtures.workspace import ROOT
from tinybert.tracking.experiment import EXPERIMENT

pytestmark = pytest.mark.slow

GROUP = """description: one ablation
experiments:
  without_attention:
    description: Equation 7 left out
    overrides: [loss.attn_weight=0]
"""


def test_shared_stages_run_once_and_the_table_stands_in_mlflow_too(tmp_path):
    clone = make_clone(tmp_path / "clone")
    shutil.copytree(ROOT / "flows", clone / "flows")
    shutil.rmtree(clone / "params/ablations")
    (clone / "params/ablations").mkdir()
    (clone / "params/ablations/mine.yaml").write_text(GROUP)
    command = (sys.executable, "-m", "flows.ablation", "--tasks", "reviews")
    lines = run(clone, *command).splitlines()
    made = [line.split("'")[1].split("@")[0] for line in lines if line.startswith("Running stage")]
    again = {"general_distill", "intermediate_distill", "prediction_distill", "evaluate"}
    again |= {"export", "benchmark_latency", "model_card", "report", "track"}
    assert {stage for stage in made if made.count(stage) == 2} == again
    shared = {"fetch_teacher", "prepare_corpus", "word_vectors", "prepare_task"}
    shared |= {"finetune_teacher", "augment", "teacher_logits"}
    assert {stage for stage in made if made.count(stage) == 1} == shared

    table = pd.read_csv(
        clone / "reports/ablation/tinybert_mini-reviews-tiny.csv", index_col="experiment"
    )
    assert table["average"].notna().all()
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{clone / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    found = client.search_runs([experiment], "tags.\"ablation/mine\" != ''")
    logged = {run.data.tags["ablation/mine"]: run.data.metrics for run in found}
    assert set(logged) == {"full", "without_attention"}
    for name, metrics in logged.items():
        average = metrics["ablation/average"]
        assert average == pytest.approx(table["average"][name], abs=1e-3)
        assert average == pytest.approx(100 * metrics["tinybert_mini/reviews/dev/accuracy"])

    assert ran(run(clone, *command)) == {"track"}  # which brings the runs in MLflow up to date
