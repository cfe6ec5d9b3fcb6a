"""Every kind of system runs through the stages from its file alone, on tiny models."""

import json
from contextlib import chdir
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.fixtures.workspace import (
    SHAPE,
    edit_section,
    edit_yaml,
    make_workspace,
    run_stage,
    write_yaml,
)

# Of the tiny teacher, which has two layers.
SIZES = SHAPE | {"num_hidden_layers": 2, "hidden_size": 24, "intermediate_size": 48}
BOTTLENECK = {"embedding_size": 8, "bottleneck_size": 8, "num_feedforward_networks": 2}
CHANGES = {
    "bert_base_mini": {"shape": SIZES, "initialisation": {"teacher_layers": [1, 2]}},
    "bert_tiny_mini": {"shape": SIZES | {"hidden_size": 16}},
    "pkd6_mini": {"shape": SIZES, "initialisation": {"teacher_layers": [1, 2]}},
    "distilbert4_mini": {
        "shape": SIZES | {"architecture": "distilbert", "num_hidden_layers": 1},
        "initialisation": {"teacher_layers": [2]},
    },
    "mobilebert_mini": {
        "shape": SIZES | {"architecture": "mobilebert", "dropout": 0.0, "bottleneck": BOTTLENECK}
    },
    "pd_mini": {"shape": SIZES},
}
SYSTEMS = (*CHANGES, "twelfth")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = make_workspace(tmp_path_factory.mktemp("systems"))
    for system, changes in CHANGES.items():
        edit_yaml(folder / f"params/systems/{system}.yaml", **changes)
    then = {"terms": ["label"], "data": "original"}
    edit_section(folder / "params/systems/pd_mini.yaml", "prediction_distill", then=then)
    write_yaml(folder / "params/systems/twelfth.yaml", TWELFTH)
    edit_yaml(folder / "params.yaml", systems=list(SYSTEMS), tasks=["reviews"])
    profile = folder / "params/profiles/tiny.yaml"
    edit_section(profile, "finetune_teacher", learning_rates=[1.0e-3])
    with chdir(folder):
        for stage in ("prepare_corpus", "fetch_teacher", "word_vectors"):
            run_stage(stage)
        for stage in ("prepare_task", "finetune_teacher", "augment", "teacher_logits"):
            run_stage(stage, "reviews")
        for system in SYSTEMS:
            run_stage("general_distill", system)
            run_stage("intermediate_distill", system, "reviews")
            said = run_stage("prediction_distill", system, "reviews")
            (folder / f"said_{system}.txt").write_text(said)
            run_stage("evaluate", system, "reviews")
    return folder


# A method of nobody's: DistilBERT's words, MobileBERT's attention of other heads, PKD's grid.
TWELFTH = {
    "description": "a twelfth system",
    "shape": SIZES | {"num_attention_heads": 2},
    "initialisation": "random",
    "layer_map": "uniform",
    "projection": "shared",
    "vocabulary": "teacher",
    "general_distill": {
        "terms": ["mlm", "mlm_kl", "attention_probs", "hidden"],
        "weights": {"mlm": 0.5},
        "heads": "mean",
        "temperature": 3,
        "mlm_kl_at": "all",
    },
    "intermediate_distill": {"terms": ["embedding", "cosine"]},
    "prediction_distill": {
        "terms": ["kl", "label"],
        "data": "original",
        "soft_shares": [0.3, 0.6],
        "temperatures": [2, 4],
    },
}


def history(folder: Path, stage: str, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"reports/training/{stage}/{name}.csv")


def terms(frame: pd.DataFrame) -> set[str]:
    return {column.removeprefix("loss/") for column in frame if column.startswith("loss/")}


@pytest.mark.parametrize(
    ("system", "general", "last"),
    [
        ("bert_base_mini", set(), set()),
        ("bert_tiny_mini", {"mlm", "next_sentence"}, {"label"}),
        ("pkd6_mini", set(), {"label", "kl", "patient"}),
        ("distilbert4_mini", {"mlm", "mlm_kl", "cosine"}, {"label"}),
        ("mobilebert_mini", {"attention_probs", "hidden"}, {"label"}),
        ("pd_mini", {"mlm"}, {"label"}),  # of its second training
        ("twelfth", {"mlm", "mlm_kl", "attention_probs", "hidden"}, {"kl", "label"}),
    ],
)
def test_each_phase_trains_the_terms_of_the_systems_file(workspace, system, general, last):
    assert terms(history(workspace, "general_distill", system)) == general
    assert terms(history(workspace, "prediction_distill", f"{system}-reviews")) == last


def test_a_student_without_projections_trains_as_long_as_its_file_says(workspace):
    # 4 steps of the profile: four times as many, or as many.
    for system, steps in {"pd_mini": 16, "mobilebert_mini": 16, "distilbert4_mini": 4}.items():
        assert history(workspace, "general_distill", system)["step"].iloc[-1] == steps


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_student_loads_with_plain_transformers(workspace, system):
    folder = workspace / "models/prediction" / system / "reviews"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    inputs = AutoTokenizer.from_pretrained(folder)("the cat sat", return_tensors="pt")
    assert model(**inputs).logits.shape == (1, 2)
    assert model.config.id2label == {0: "bad", 1: "good"}


def test_the_teacher_as_a_system_is_the_fine_tuned_teacher(workspace):
    ours, theirs = (
        load_file(workspace / place / "reviews/model.safetensors")
        for place in ("models/prediction/bert_base_mini", "models/teacher")
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    scores = [
        json.loads((workspace / f"reports/metrics/{row}/reviews.json").read_text())["metrics"]
        for row in ("bert_base_mini", "teacher")
    ]
    assert scores[0] == scores[1]


def test_pkd_starts_as_the_teachers_first_layers(workspace):
    general = load_file(workspace / "models/general/pkd6_mini/model.safetensors")
    teacher = load_file(workspace / "models/pretrained/model.safetensors")
    assert all(torch.equal(general[name], teacher[name]) for name in general)


def test_distilbert_has_neither_pooler_nor_token_types(workspace):
    general = load_file(workspace / "models/general/distilbert4_mini/model.safetensors")
    assert not [name for name in general if "pooler" in name or "token_type" in name]
    assert not [name for name in general if "words" in name or "bias_head" in name]


def test_the_loss_is_the_weighted_sum_of_its_terms(workspace):
    row = history(workspace, "general_distill", "distilbert4_mini").iloc[0]
    assert row["loss"] == pytest.approx(
        5 * row["loss/mlm_kl"] + 2 * row["loss/mlm"] + row["loss/cosine"], rel=1e-5
    )
    # 0.5 CE + 0.5 KL + 100 PT, by the file.
    row = history(workspace, "prediction_distill", "pkd6_mini-reviews").iloc[0]
    assert row["loss"] == pytest.approx(
        0.5 * row["loss/label"] + 0.5 * row["loss/kl"] + 100 * row["loss/patient"], rel=1e-5
    )


def test_a_second_training_begins_with_what_the_first_one_left(workspace):
    # 54 rows of the original training set, twice.
    said = (workspace / "said_pd_mini.txt").read_text()
    assert said.count("from 54 rows") == 2
    assert ", then from 54 rows" in said
