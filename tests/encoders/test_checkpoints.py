"""Only the right kind of checkpoint is loaded, and only from safetensors."""

import json

import pytest
import torch
from transformers import AutoModelForMaskedLM, GPT2Config, GPT2Model

from tests.fixtures.models import VOCABULARY, save_pretrained, tiny_encoder, tiny_tokenizer
from tests.fixtures.refused import refused
from tinybert.encoders.checkpoints import (
    from_hub,
    load_encoder,
    load_tokenizer,
    missing_weights,
    packaged,
    require_checkpoint,
    require_same_vocabulary,
    require_sha256,
)
from tinybert.encoders.teacher_source import TeacherSource, locate_teacher

MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_a_whole_checkpoint_is_accepted_and_loads(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    assert require_checkpoint(folder) == folder
    assert load_encoder(folder).config.num_hidden_layers == 2


@pytest.mark.parametrize("load", [require_checkpoint, load_tokenizer, load_encoder])
def test_a_missing_folder_is_named(tmp_path, load):
    line = refused(load, tmp_path / "nowhere")
    assert line.startswith(f"{tmp_path / 'nowhere'}: no checkpoint folder, got nothing there")


def test_a_decoder_is_refused_by_its_kind(tmp_path):
    GPT2Model(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=20)).save_pretrained(tmp_path)
    assert "no text encoder, got model_type 'gpt2'" in refused(require_checkpoint, tmp_path)


def test_a_pickle_is_refused_and_never_opened(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert "got the pickled pytorch_model.bin" in refused(load_encoder, folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": 7}', '{"model_type": ["bert"]}'])
def test_a_broken_configuration_is_refused(tmp_path, content):
    folder = save_pretrained(tmp_path / "teacher")
    (folder / "config.json").write_text(content)
    assert "config.json" in refused(require_checkpoint, folder)


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram"])
def test_a_tokenizer_that_cannot_write_what_it_does_not_know_is_refused(tmp_path, kind):
    folder = save_pretrained(tmp_path / "teacher")
    state = json.loads((folder / "tokenizer.json").read_text())
    if kind == "WordPiece":
        state["model"]["unk_token"] = "<unk>"
    else:
        pieces = [[piece, -1.0] for piece in state["model"]["vocab"]]
        state["model"] = {"type": "Unigram", "vocab": pieces, "unk_id": None}
    (folder / "tokenizer.json").write_text(json.dumps(state))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert "cannot read characters that it does not know" in refused(load_tokenizer, folder)


def test_a_missing_tokenizer_is_named(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    assert "the tokenizer is missing" in refused(require_checkpoint, folder)


def test_the_packaged_checkpoint_is_the_one_the_hub_publishes():
    source = TeacherSource(source="packaged", hub_id=None, revision=None, sha256=MINILM)
    assert (locate_teacher(source, packaged()) / "model.safetensors").is_file()


def test_another_hash_is_refused(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    line = refused(require_sha256, folder / "model.safetensors", MINILM)
    assert "wrong SHA-256" in line and MINILM in line
    assert "or set teacher.sha256 to null" in line


def test_a_hash_of_a_checkpoint_in_shards_is_refused(tmp_path):
    folder = tmp_path / "teacher"
    tiny_encoder().save_pretrained(save_pretrained(folder), max_shard_size="10KB")
    (folder / "model.safetensors").unlink()
    source = TeacherSource(source="folder", hub_id=None, revision=None, sha256=MINILM)
    line = refused(locate_teacher, source, folder)
    assert line.startswith(f"{folder / 'model.safetensors'}: missing, got a checkpoint in shards")


def test_a_local_folder_is_a_teacher(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    source = TeacherSource(source="folder", hub_id=None, revision=None, sha256=None)
    assert locate_teacher(source, folder) == folder


def test_an_unreachable_hub_gives_one_line_with_the_cure(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = refused(from_hub, "nobody/nothing-of-the-kind")
    assert "set the profile's teacher.source to folder" in line
    assert "nobody/nothing-of-the-kind" in line


def test_weights_that_a_head_lacks_are_named(tmp_path):
    tiny_encoder().save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    missing = missing_weights(AutoModelForMaskedLM, tmp_path)
    assert any(name.startswith("cls.predictions") for name in missing)
    whole = save_pretrained(tmp_path / "whole")
    assert missing_weights(AutoModelForMaskedLM, whole) == []


def test_another_vocabulary_is_refused_with_the_first_differing_piece(tmp_path):
    ours, theirs = tiny_tokenizer(tmp_path / "a"), tiny_tokenizer(tmp_path / "b")
    require_same_vocabulary(ours, theirs, "student")
    other = tiny_tokenizer(tmp_path / "c", ["cow" if p == "cat" else p for p in VOCABULARY])
    line = refused(require_same_vocabulary, ours, other, "student")
    assert "2 of them differ, the first 'cat'" in line


def test_loading_is_in_float32_whatever_was_stored(tmp_path):
    folder = tmp_path / "teacher"
    tiny_encoder().bfloat16().save_pretrained(folder)
    tiny_tokenizer(folder)
    assert load_encoder(folder).dtype == torch.float32
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
