"""Without copies no masked-word model is needed, and none is made where the profile says so."""

import importlib
import json
from pathlib import Path

import pytest

from stages import _doctor
from tests.fixtures.workspace import edit_yaml, make_workspace, read_yaml
from tinybert.core.errors import InputError

PROFILE = Path("params/profiles/tiny.yaml")


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> Path:
    folder = make_workspace(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    return folder


def run_stage(name: str, *arguments: str) -> str:
    return importlib.import_module(f"stages.{name}").main(*arguments)


def set_profile(num_copies: int, **fetch_teacher) -> None:
    profile = read_yaml(PROFILE)
    profile["augment"]["num_copies"] = num_copies
    profile["fetch_teacher"].update(fetch_teacher)
    edit_yaml(PROFILE, **profile)


def take_the_mask_away(folder: Path) -> None:
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "special_tokens_map.json").unlink(missing_ok=True)


def test_a_teacher_without_a_mask_is_enough_where_nothing_hides_words(workspace, capsys):
    take_the_mask_away(workspace / "data/raw/teacher")
    set_profile(0, masked_lm=False)
    run_stage("prepare_corpus")
    assert "without a masked-word model" in run_stage("fetch_teacher")
    assert Path("models/pretrained/model.safetensors").is_file()
    assert not Path("models/pretrained/masked_lm").exists()
    set_profile(0, masked_lm=True)
    with pytest.raises(InputError, match="the tokenizer has no mask token"):
        run_stage("fetch_teacher")
    assert not _doctor.main("tinybert_mini", "reviews")
    assert "the tokenizer has no mask token" in capsys.readouterr().err


def test_copies_without_a_masked_word_model_are_refused_at_the_first_stage(capsys):
    set_profile(2, masked_lm=False)
    run_stage("prepare_corpus")
    with pytest.raises(InputError) as caught:
        run_stage("fetch_teacher")
    assert str(caught.value).startswith("augment.num_copies: copies need the masked-word model")
    assert not _doctor.main("tinybert_mini", "reviews")
    assert str(caught.value) in capsys.readouterr().err


def test_training_what_is_not_made_is_refused():
    set_profile(0, masked_lm=False, train_always=True)
    with pytest.raises(InputError, match="masked_lm: must be true where"):
        run_stage("fetch_teacher")
