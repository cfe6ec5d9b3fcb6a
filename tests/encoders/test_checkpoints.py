"""Only the right kind of checkpoint is loaded, and only from safetensors."""

import json

import pytest
import torch
from transformers import AutoModelForMaskedLM, GPT2Config, GPT2Model

from tests.fixtures.models import save_pretrained, tiny_encoder, tiny_tokenizer
from tinybert.core.errors import InputError
from tinybert.encoders.checkpoints import (
    from_hub,
    load_encoder,
    missing_weights,
    packaged,
    require_checkpoint,
    require_same_vocabulary,
    require_sha256,
)
from tinybert.encoders.teacher_source import TeacherSource, locate_teacher

MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_checkpoint_is_accepted_and_loads(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    assert require_checkpoint(folder) == folder
    assert load_encoder(folder).config.num_hidden_layers == 2


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        require_checkpoint(tmp_path / "nowhere")
    assert "nowhere: no checkpoint folder" in one_line(caught)


def test_a_decoder_is_refused_by_its_kind(tmp_path):
    GPT2Model(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=20)).save_pretrained(tmp_path)
    with pytest.raises(InputError) as caught:
        require_checkpoint(tmp_path)
    assert "no text encoder, got model_type 'gpt2'" in one_line(caught)


def test_a_pickle_is_refused_and_never_opened(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError) as caught:
        load_encoder(folder)
    assert "got the pickled pytorch_model.bin" in one_line(caught)


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": 7}'])
def test_a_broken_configuration_is_refused(tmp_path, content):
    folder = save_pretrained(tmp_path / "teacher")
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json"):
        require_checkpoint(folder)


def test_a_missing_tokenizer_is_named(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match="the tokenizer is missing"):
        require_checkpoint(folder)


def test_the_packaged_checkpoint_is_the_one_the_hub_publishes():
    source = TeacherSource(source="packaged", hub_id=None, revision=None, sha256=MINILM)
    assert (locate_teacher(source, packaged()) / "model.safetensors").is_file()


def test_another_hash_is_refused(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    with pytest.raises(InputError) as caught:
        require_sha256(folder / "model.safetensors", MINILM)
    assert "wrong SHA-256" in one_line(caught)
    assert MINILM in one_line(caught)


def test_a_local_folder_is_a_teacher(tmp_path):
    folder = save_pretrained(tmp_path / "teacher")
    source = TeacherSource(source="folder", hub_id=None, revision=None, sha256=None)
    assert locate_teacher(source, folder) == folder


def test_an_unreachable_hub_gives_one_line_with_the_cure(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError) as caught:
        from_hub("nobody/nothing-of-the-kind")
    assert "set the profile's teacher.source to folder" in one_line(caught)
    assert "nobody/nothing-of-the-kind" in one_line(caught)


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
    vocabulary = (tmp_path / "b" / "vocab.txt").read_text().replace("\ncat\n", "\ncow\n")
    (tmp_path / "b" / "vocab.txt").write_text(vocabulary)
    other = type(theirs)(vocab=str(tmp_path / "b" / "vocab.txt"))
    with pytest.raises(InputError) as caught:
        require_same_vocabulary(ours, other, "student")
    assert "2 of them differ, the first 'cat'" in one_line(caught)


def test_loading_is_in_float32_whatever_was_stored(tmp_path):
    folder = tmp_path / "teacher"
    tiny_encoder().bfloat16().save_pretrained(folder)
    tiny_tokenizer(folder)
    assert load_encoder(folder).dtype == torch.float32
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
