"""Without copies no masked-word model and no word vectors are needed, and none are made."""

import json
from pathlib import Path

import pytest

from stages import _doctor
from tests.fixtures.refused import refused
from tests.fixtures.workspace import edit_section, make_workspace, run_stage, sentences
from tinybert.runtime.errors import InputError
from tinybert.text.encoded import Blocks

PROFILE = Path("params/profiles/tiny.yaml")


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> Path:
    folder = make_workspace(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    return folder


def set_profile(num_copies: int, **fetch_teacher) -> None:
    edit_section(PROFILE, "augment", num_copies=num_copies)
    edit_section(PROFILE, "fetch_teacher", **fetch_teacher)


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
    line = refused(run_stage, "fetch_teacher")
    assert line.startswith("augment.num_copies: copies need the masked-word model")
    assert not _doctor.main("tinybert_mini", "reviews")
    assert line in capsys.readouterr().err


def test_training_what_is_not_made_is_refused():
    set_profile(0, masked_lm=False, train_always=True)
    with pytest.raises(InputError, match="masked_lm: must be true where"):
        run_stage("fetch_teacher")


def test_without_copies_no_word_vectors_are_made():
    set_profile(0, masked_lm=False)
    run_stage("prepare_corpus")
    assert "since augment.num_copies is 0" in run_stage("word_vectors")
    assert not any(Path("data/word_vectors").iterdir())
    set_profile(2, masked_lm=True)
    assert "made vectors of" in run_stage("word_vectors")
    assert Path("data/word_vectors/words.txt").is_file()


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_a_corpus_of_few_blocks_is_enough_for_a_masked_word_model(num_blocks, capsys):
    # Blocks of 16 pieces, two of them special; the sentences' words are a piece each.
    text = f"{' '.join(sentences(1, 5)[0].split()[:7])}\n" * 2 * num_blocks
    Path("data/raw/corpus/text.txt").write_text(text)
    set_profile(2, masked_lm=True, train_always=True)
    run_stage("prepare_corpus")
    assert len(Blocks(Path("data/corpus"))) == num_blocks
    assert "its masked-word model beside it" in run_stage("fetch_teacher")
    assert json.loads(Path("reports/pretrained.json").read_text())["held_out_blocks"] == 1
