"""A card holds what the files say, reads as the hub's metadata, and stands beside a whole model."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.fixtures.measured import EXPORT, LATENCY, facts, task_info
from tests.fixtures.models import tiny_classifier, tiny_tokenizer
from tests.fixtures.workspace import ROOT, read_yaml
from tinybert.reports.model_card import CARD, Augmented, copy_with_card, render
from tinybert.reports.results import MISSING, Cost, Export
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import read_json
from tinybert.tasks.task_file import TaskFile

SHARED_MEMORY = Path("/dev/shm")


def test_the_front_matter_is_the_hubs_and_holds_the_scores():
    card = ModelCard(render(facts()))
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.base_model == ["google-bert/bert-base-uncased"]
    assert card.data.language == "en" and card.data.get("license") is None
    assert set(card.data.datasets) == {"nyu-mll/glue", "wikimedia/wikipedia"}
    assert card.data.model_name == "tinybert4-mrpc"
    found = {
        (each.dataset_type, each.dataset_config, each.dataset_split, each.metric_name): (
            each.metric_type,
            each.metric_value,
        )
        for each in card.data.eval_results
    }
    assert found == {
        ("nyu-mll/glue", "mrpc", "validation", "f1"): ("f1", 0.861),
        ("nyu-mll/glue", "mrpc", "validation", "accuracy"): ("accuracy", 0.8),
    }


def test_a_task_of_the_hub_stands_in_the_front_matter_as_the_hub_calls_it():
    hub = {"path": "someone/reviews", "name": "films", "splits": {"train": "a", "dev": "b"}}
    columns = {"sentence1": "one", "sentence2": "two", "label": "label"}
    task_file = TaskFile.model_validate({"hub": hub, "columns": columns})
    for each in ModelCard(render(facts(task_file=task_file))).data.eval_results:
        found = each.dataset_type, each.dataset_config, each.dataset_split
        assert found == ("someone/reviews", "films", "b")


def test_a_folder_in_the_hubs_layout_is_no_data_set_of_the_hub(tmp_path):
    folder = tmp_path / "reviews"
    folder.mkdir()
    hub = {"path": str(folder), "splits": {"train": "train", "dev": "dev"}}
    columns = {"sentence1": "one", "label": "label"}
    text = render(facts(task_file=TaskFile.model_validate({"hub": hub, "columns": columns})))
    assert "the folder reviews" in text
    assert str(tmp_path) not in text


def test_a_corpus_in_a_folder_is_no_data_set_of_the_hub(tmp_path):
    profile = read_yaml(ROOT / "params/profiles/paper.yaml")
    folder = tmp_path / "texts"
    folder.mkdir()
    profile["prepare_corpus"] |= {"source": "hub", "hub": {"path": str(folder)}}
    text = render(facts(profile_file=profile))
    assert "the folder texts" in text
    assert ModelCard(text).data.datasets == ["nyu-mll/glue"]


def test_the_card_says_what_the_files_say():
    text = render(facts())
    assert "| dev | 408 | f1 | 86.1 | 90.0 | 95.7% |" in text  # 0.861 / 0.9
    known = f"2.50 | {MISSING} | {MISSING} | 10.00"
    assert f"| PyTorch fp32 | 1 | 64 | 2 | {known} | 4.04x (3.90-4.20) |" in text
    assert "device: cpu; precision: fp32; num repeats: 9." in text
    assert "14,350,248 | 109,482,240" in text and "57.4 MB" in text
    assert "1.25 | 22.35" in text and "1.27 | 22.50" in text
    assert "uniform (1 from 3, 2 from 6, 3 from 9, 4 from 12 of 12)" in text
    assert "| paper, 43, auto |" in text
    assert "3,668 training rows" in text and "77,123" in text and "2,500,000 words" in text
    assert "`not_equivalent`, `equivalent`" in text
    assert "best of 6 schedules" in text  # 2 batch sizes and 3 learning rates
    assert "Not measured: test (has no labels)" in text
    assert 'tokenizer("first text", "second text", truncation=True, max_length=128' in text
    assert "distilled from a fine-tuned teacher" in text


def test_each_term_stands_with_its_weight():
    system = read_yaml(ROOT / "params/systems/tinybert4.yaml")
    system["intermediate_distill"] |= {"weights": {"hidden": 0.5}}
    system["prediction_distill"] |= {"terms": ["label"], "then": {"terms": ["prediction"]}}
    loss = {"attn_weight": 3.0, "hidden_weight": 4.0, "embedding_weight": 0.1, "temperature": 1.0}
    params = facts().params | {"loss": loss | {"prediction_weight": 5.0, "label_weight": 6.0}}
    text = render(facts(system_file=system, params=params))
    assert "loss of prediction_distill | 1 x label; then 5 x prediction |" in text
    assert "best of 12 schedules" in text  # 2 batch sizes and 3 learning rates, twice
    assert "loss of general_distill | 3 x attention + 4 x hidden + 0.1 x embedding |" in text
    assert "loss of intermediate_distill | 3 x attention + 2 x hidden + 0.1 x embedding |" in text


def test_relations_have_the_weight_of_attention():
    system = read_yaml(ROOT / "params/systems/tinybert4.yaml")
    system["intermediate_distill"] |= {"terms": ["relations"]}
    params = facts().params | {"loss": {"attn_weight": 3.0, "temperature": 1.0}}
    text = render(facts(system_file=system, params=params))
    assert "loss of intermediate_distill | 3 x relations |" in text


def test_a_start_in_closed_form_is_told_and_is_distillation():
    system = read_yaml(ROOT / "params/systems/closed_form_mini.yaml")
    system["intermediate_distill"]["terms"] = []
    system["prediction_distill"] = {"terms": ["label"]}
    text = render(facts("closed_form_mini", system_file=system))
    assert "first weights: fitted in closed form to the fine-tuned teacher |" in text
    assert "intermediate_distill | no terms: the student stays as it was fitted |" in text
    assert "distilled from a fine-tuned teacher" in text and "knowledge-distillation" in text
    assert "Read by intermediate_distill" in text  # the copies
    system["intermediate_distill"] = {"terms": []}
    text = render(facts("closed_form_mini", system_file=system))
    assert "first weights: random |" in text and "trained without distillation" in text
    system["initialisation"] = "closed_form"
    text = render(facts("closed_form_mini", system_file=system))
    assert "first weights: fitted in closed form to the pretrained teacher |" in text
    assert "distilled from a fine-tuned teacher" in text


def test_a_systems_own_schedule_of_a_phase_is_told():
    text = render(facts("pd_mini"))
    assert "loss of general_distill | 1 x mlm, 4 times the profile's steps |" in text
    system = read_yaml(ROOT / "params/systems/tinybert_mini.yaml")
    system["intermediate_distill"] |= {"learning_rate": 2e-3}
    text = render(facts("tinybert_mini", system_file=system))
    assert "1 x attention + 1 x hidden + 1 x embedding, learning rate 0.002 |" in text


def test_what_was_not_used_is_not_claimed():
    text = render(facts("scratch_mini"))
    assert "trained without distillation" in text
    assert "knowledge-distillation" not in text
    assert (
        "No phase of this system reads them." in text and "no phase of this system reads it" in text
    )
    assert "loss of general_distill | no terms: the student passes through |" in text


def test_what_nobody_measured_is_left_out():
    text = render(facts(latency=None, teacher_scores=None))
    assert "| dev | 408 | f1 | 86.1 | \N{EN DASH} | \N{EN DASH} |" in text
    assert "speed-up |" not in text and "parameters, pooler" not in text
    old = LATENCY.model_copy(update={"student": Cost(parameters=1, gflops=1.0, size_mb=1.0)})
    assert "as the paper prints" not in render(facts(latency=old))


def test_an_own_regression_task_has_no_labels_and_no_known_language():
    info = task_info("score", [], ["spearman"], pair=False)
    columns = {"sentence1": "text", "label": "score"}
    task_file = TaskFile.model_validate({"files": {"train": "own|x.csv"}, "columns": columns})
    card = render(facts(profile="demo", info=info, task_file=task_file))
    data = ModelCard(card).data
    assert data.language is None and data.base_model is None and data.datasets is None
    assert "gives a text a score" in card and "id2label" not in card


def test_a_layer_map_of_other_layers_is_written_as_it_stands():
    system = read_yaml(ROOT / "params/systems/tinybert4.yaml") | {"layer_map": [3, 6, 9]}
    assert "| layers it learns from | [3, 6, 9] |" in render(facts(system_file=system))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "prediction"
    tiny_classifier().save_pretrained(folder)
    tiny_tokenizer(tmp_path / "vocabulary").save_pretrained(folder)
    return folder


def test_the_student_is_its_files_once_and_loads_with_plain_transformers(source, tmp_path):
    (source / CARD).write_text("another's")
    before = {file.name: file.read_bytes() for file in source.iterdir()}
    folder = tmp_path / "student"
    for _ in range(2):  # also in the place of an old one
        copy_with_card(source, facts(), folder)
    for file in set(before) - {CARD}:
        assert (folder / file).samefile(source / file)
    assert {file.name: file.read_bytes() for file in source.iterdir()} == before
    assert (folder / CARD).read_text() == render(facts())
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    inputs = AutoTokenizer.from_pretrained(folder)("the cat sat", return_tensors="pt")
    assert model(**inputs).logits.shape == (1, 2)


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="no second file system")
def test_files_are_copied_where_they_cannot_be_linked(source, tmp_path):
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as other:
        copy_with_card(source, facts(), Path(other) / "student")
        copied = Path(other) / "student/model.safetensors"
        assert copied.stat().st_dev != source.stat().st_dev
        assert copied.read_bytes() == (source / "model.safetensors").read_bytes()


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not valid JSON.*`dvc repro evaluate`"):
        read_json(tmp_path / "config.json", dict[str, Any], "dvc repro evaluate")
    with pytest.raises(InputError, match="rows_in: Field required"):
        (tmp_path / "config.json").write_text("{}")
        read_json(tmp_path / "config.json", Augmented, "dvc repro augment")


def test_what_int8_costs_stands_in_the_card_of_an_exported_student():
    assert "int8" not in render(facts())
    text = render(facts(export=Export.model_validate(EXPORT)))
    assert "`onnx/model.onnx` (57.6 MB)" in text and "f1 on dev, 70.0 in float32" in text
    assert "| dynamic, kept | 14.5 | 69.0 | 1.0 (-0.5 to 2.0) | 98.5% |" in text
