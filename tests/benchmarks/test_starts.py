"""Where a student of the comparison starts."""

from pathlib import Path

import pytest
import torch

from benchmarks.starts import Bench, main
from tests.fixtures.refused import refused
from tests.fixtures.workspace import edit_section, make_workspace, run_stage
from tinybert.encoders.checkpoints import load_config

SYSTEM = "tinybert_mini"


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
    """Return the configuration of the teacher of a workspace with a corpus."""
    monkeypatch.chdir(make_workspace(tmp_path))
    run_stage("prepare_corpus")
    run_stage("fetch_teacher")
    return load_config(Path("models/pretrained"))


def test_copied_layers_are_those_of_the_layer_map_and_projections_change_nothing(
    pretrained, tmp_path
):
    sizes = {key: getattr(pretrained, key) for key in ("hidden_size", "intermediate_size")}
    heads, depth = pretrained.num_attention_heads, pretrained.num_hidden_layers
    edit_section(
        Path(f"params/systems/{SYSTEM}.yaml"),
        "shape",
        **sizes,
        num_attention_heads=heads,
        num_hidden_layers=depth // 2,
    )
    bench = Bench(SYSTEM, tmp_path)
    student, found = bench.encoder("copied", 0, 0)
    assert bench.layers == [*range(2, depth + 1, 2)]
    for ours, theirs in zip(
        student.encoder.layer, bench.pretrained.encoder.layer[1::2], strict=True
    ):
        assert torch.equal(ours.output.dense.weight, theirs.output.dense.weight)
    states = torch.randn(3, pretrained.hidden_size)
    assert torch.equal(found.hidden(1, states), states)
    assert torch.equal(found.embedding(states), states)


def test_layers_of_another_width_are_refused(pretrained, tmp_path):
    bench = Bench(SYSTEM, tmp_path)
    assert "needs a student of the teacher's widths" in refused(bench.encoder, "copied", 0, 0)
    line = refused(main, ["--starts", "copied,middle"])
    assert line == (
        "--starts: unknown, got middle; known: random, embeddings, general, task, copied"
    )
