"""A checkpoint whose weights are not those of its configuration is refused, whatever is wrong."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    ElectraConfig,
    ModernBertConfig,
    RobertaConfig,
)

from tests.fixtures.models import (
    VOCABULARY,
    save_pretrained,
    tiny_classifier,
    tiny_config,
    tiny_distilbert,
    tiny_encoder,
    tiny_tokenizer,
)
from tests.fixtures.refused import refused as line_of
from tinybert.encoders.checkpoints import (
    load_classifier,
    load_encoder,
    load_masked_lm,
    load_tokenizer,
    require_checkpoint,
)
from tinybert.runtime.errors import InputError

SIZES = {
    "vocab_size": len(VOCABULARY),
    "num_hidden_layers": 2,
    "hidden_size": 24,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "pad_token_id": 0,
}
ARCHITECTURES = [
    RobertaConfig(**SIZES),
    ElectraConfig(**SIZES, embedding_size=24),
    ModernBertConfig(**SIZES, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3),
    tiny_distilbert(),
    tiny_config(),
]
KINDS = [AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification]


@pytest.fixture
def folder(tmp_path) -> Path:
    return save_pretrained(tmp_path / "teacher")


def refused(load, folder: Path, *expected: str) -> str:
    line = line_of(load, folder)
    assert str(folder) in line
    for each in expected:
        assert each in line
    return line


def rewrite(folder: Path, change) -> dict[str, torch.Tensor]:
    """Store `change` of the weights instead of them."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    save_file(change(dict(weights)), file, metadata={"format": "pt"})
    return weights


def reconfigure(folder: Path, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def renamed(old: str, new: str):
    return lambda weights: {name.replace(old, new, 1): w for name, w in weights.items()}


def prefixed(prefix: str):
    return lambda weights: {prefix + name: weight for name, weight in weights.items()}


def same_states(ours, theirs) -> bool:
    ours, theirs = ours.state_dict(), theirs.state_dict()
    return all(
        torch.equal(ours[name], theirs[name]) for name in theirs if not name.startswith("pooler")
    )


@pytest.mark.parametrize(
    "prefix", ["module.", "module.module.", "model.", "_orig_mod.", "module._orig_mod.model.bert."]
)
def test_known_wrappers_are_taken_off_at_any_depth_and_said(folder, tmp_path, capsys, prefix):
    right = load_encoder(save_pretrained(tmp_path / "right"))
    rewrite(folder, prefixed(prefix))
    assert same_states(load_encoder(folder), right)
    assert f"took off the names of weights: {prefix}" in capsys.readouterr().out
    assert load_masked_lm(folder).get_output_embeddings() is not None  # its head is found as well


def test_what_was_taken_off_is_said_once_however_often_it_is_loaded(folder, capsys):
    rewrite(folder, prefixed("module."))
    for load in (load_encoder, load_masked_lm):
        load(folder)
    assert capsys.readouterr().out.count("took off the names of weights") == 1


def test_wrappers_inside_of_names_are_taken_off(folder, tmp_path, capsys):
    right = load_encoder(save_pretrained(tmp_path / "right"))
    rewrite(folder, renamed("bert.encoder.layer.0.", "bert.encoder.layer.0._orig_mod."))
    assert same_states(load_encoder(folder), right)
    assert "wrappers inside of names" in capsys.readouterr().out


def test_an_unknown_prefix_is_refused_with_counts_and_names(folder):
    rewrite(folder, prefixed("mine.v2."))
    # 2 layers of 16 weights, and 5 of the embeddings, of which none is there.
    line = refused(load_encoder, folder, "got 37 of 37 missing (embeddings.LayerNorm.bias, ")
    assert "37 unused (mine.v2.bert.embeddings.LayerNorm.bias, " in line
    assert "take 'mine.v2.bert.' off the names" in line
    assert line.count("mine.v2.bert.embeddings") == 3


@pytest.mark.parametrize("load", [load_encoder, load_masked_lm, load_classifier])
def test_half_a_file_is_refused_by_every_loader(folder, load):
    rewrite(folder, lambda weights: dict(list(weights.items())[:10]))
    # Weights are stored by name: the 5 of the embeddings, then 5 of the first layer.
    refused(load, folder, "got 27 of 37 missing (")


def test_a_single_missing_weight_is_refused(folder):
    gone = "bert.encoder.layer.1.output.LayerNorm.bias"
    rewrite(folder, lambda weights: {n: w for n, w in weights.items() if n != gone})
    refused(load_encoder, folder, "got 1 of 37 missing (encoder.layer.1.output.LayerNorm.bias)")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(3, "16 of 53 missing (encoder.layer.2."), (1, "16 unused (bert.encoder.layer.1.")],
)
def test_layers_more_or_fewer_than_configured_are_refused(folder, layers, expected):
    reconfigure(folder, num_hidden_layers=layers)
    refused(load_encoder, folder, expected, f"{layers} layers")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden_size": 32}, "(24,) instead of (32,)"),
        ({"vocab_size": 99}, f"({len(VOCABULARY)}, 24) instead of (99, 24)"),
        ({"max_position_embeddings": 32}, "(64, 24) instead of (32, 24)"),
    ],
)
def test_another_size_is_refused_with_both_shapes(folder, change, expected):
    reconfigure(folder, **change)
    refused(load_encoder, folder, "of another shape (", expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden_size": "24"}, "wrong values"),
        ({"vocab_size": None}, "wrong values"),
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads (5)"),
        ({"num_attention_heads": 0}, "cannot be made"),
        ({"hidden_act": "nosuch"}, "'nosuch'"),
        ({"pad_token_id": 500}, "Padding_idx"),
        ({"num_hidden_layers": -1}, "unused"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
    ],
)
def test_a_configuration_with_wrong_values_is_refused(folder, change, expected):
    reconfigure(folder, **change)
    refused(load_encoder, folder, expected)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 438\n"


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda content: content[: len(content) // 2], "not readable as safetensors"),
        (lambda content: b"", "got 0 bytes"),
        (lambda content: b"<html>Not found</html>", "not readable as safetensors"),
        (lambda content: LFS, "run `git lfs pull`"),
        (lambda content: b"\x02" + b"\x00" * 7 + b"{}", "no weights"),
    ],
)
def test_a_damaged_file_is_refused_before_anything_is_loaded(folder, damage, expected):
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    refused(require_checkpoint, folder, expected)


def test_parts_of_a_set_load_together_and_a_missing_one_is_named(folder, tmp_path):
    right = load_encoder(folder)
    BertForMaskedLM.from_pretrained(folder).save_pretrained(
        tmp_path / "parts", max_shard_size="10KB"
    )
    parts = tmp_path / "parts"
    tiny_tokenizer(parts)
    assert same_states(load_encoder(parts), right)
    names = sorted(file.name for file in parts.glob("*.safetensors"))
    assert len(names) > 2
    (parts / names[1]).unlink()
    expected = f"got {len(names) - 1} of the {len(names)} files"
    refused(require_checkpoint, parts, expected, f"without {names[1]}")
    (parts / "model.safetensors.index.json").write_text("{")
    refused(require_checkpoint, parts, "not readable as an index")


def test_an_adapter_alone_is_no_checkpoint(folder):
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    refused(require_checkpoint, folder, "got only adapter_model.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder, value):
    def change(weights):
        weights["bert.encoder.layer.1.output.dense.bias"][3] = value
        return weights

    rewrite(folder, change)
    refused(load_encoder, folder, "in 1 of them (encoder.layer.1.output.dense.bias)")


def without(*parts: str):
    """Set to zero each weight whose name has one of the parts."""
    return lambda weights: {
        name: weight * 0 if any(part in name for part in parts) else weight
        for name, weight in weights.items()
    }


def test_matrices_of_zeros_are_refused_but_unused_embeddings_are_not(folder):
    rewrite(folder, without("token_type_embeddings", "query.bias"))
    load_encoder(folder)
    rewrite(folder, without("layer.1.attention.self.query.weight"))
    refused(load_encoder, folder, "zeros in 1 matrices (encoder.layer.1.attention.self.query.")
    rewrite(folder, without(""))
    refused(load_encoder, folder, "nothing but zeros in 12 matrices")  # 2 layers of 6


def test_whole_numbers_are_refused(folder):
    rewrite(folder, lambda weights: {name: w.to(torch.int8) for name, w in weights.items()})
    refused(load_encoder, folder, "no floating-point numbers, got I8 in 42 of 42")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_point_format_is_loaded_as_float32(folder, dtype):
    rewrite(folder, lambda weights: {name: w.to(dtype) for name, w in weights.items()})
    for load in (load_encoder, load_masked_lm):
        assert {each.dtype for each in load(folder).parameters()} == {torch.float32}


@pytest.mark.parametrize("config", ARCHITECTURES, ids=lambda config: config.model_type)
@pytest.mark.parametrize("stored", KINDS)
def test_heads_may_be_missing_or_unused_in_every_architecture(tmp_path, capsys, config, stored):
    stored.from_config(config).save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    load_encoder(tmp_path)
    load_masked_lm(tmp_path, new_head=True)
    load_classifier(tmp_path, new_head=True, num_labels=3)
    assert "not used" not in capsys.readouterr().out
    rewrite(tmp_path, prefixed("module."))
    load_encoder(tmp_path)


def test_a_classifier_without_its_head_is_refused_unless_a_new_one_is_asked_for(tmp_path):
    tiny_encoder().save_pretrained(tmp_path)
    tiny_tokenizer(tmp_path)
    refused(load_classifier, tmp_path, "classifier.bias, classifier.weight")
    refused(load_masked_lm, tmp_path, "must have a masked-language-model head")
    tiny_classifier(num_labels=3).save_pretrained(tmp_path)
    assert load_classifier(tmp_path).config.num_labels == 3
    assert load_classifier(tmp_path, new_head=True, num_labels=2).config.num_labels == 2


def test_weights_of_no_known_head_are_said(folder, capsys):
    rewrite(folder, lambda weights: weights | {"projector.weight": torch.zeros(2)})
    load_encoder(folder)
    assert "1 weights are not used, as projector.weight" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "[]", "{}", "\x00"])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_tokenizer_is_refused(folder, name, content):
    if (name, content) == ("tokenizer_config.json", "{}"):
        pytest.skip("an empty configuration says nothing wrong")
    (folder / name).write_text(content)
    refused(load_tokenizer, folder, "the tokenizer cannot be loaded")


def test_a_tokenizer_with_more_pieces_than_embeddings_is_refused(folder):
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["newword"])
    tokenizer.save_pretrained(folder)
    largest = len(VOCABULARY)
    refused(load_tokenizer, folder, f"up to number {largest} for {largest} embeddings")


@pytest.mark.parametrize("lacking", ["pad", "cls", "sep"])
def test_a_tokenizer_without_its_special_tokens_is_refused(folder, lacking):
    tokenizer = load_tokenizer(folder)
    setattr(tokenizer, f"{lacking}_token", None)
    tokenizer.save_pretrained(folder)
    refused(load_tokenizer, folder, f"the tokenizer has no {lacking} token")


def test_a_student_of_an_earlier_run_is_looked_at_as_well(folder, tmp_path):
    student = tmp_path / "student"
    shutil.copytree(folder, student)
    tiny_classifier().save_pretrained(student)
    load_classifier(student)
    rewrite(student, renamed("bert.encoder", "bert.other"))
    refused(load_classifier, student, "got 32 of 37 missing (bert.encoder.layer.0.")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_named_as_another_architecture_s_are_sent_to_their_configuration(folder, prefix):
    reconfigure(folder, model_type="roberta", architectures=["RobertaModel"])
    rewrite(folder, prefixed(prefix))
    line = refused(load_encoder, folder, "named as those of bert", "has model_type roberta")
    assert "off the names" not in line  # which would load them as what they are not


@pytest.mark.parametrize("inner", ["0_Transformer", "snapshots/5c38ec7", "bert-base-uncased"])
@pytest.mark.parametrize("config_above", [True, False])
def test_a_checkpoint_that_lies_deeper_is_named(folder, tmp_path, inner, config_above):
    outer = tmp_path / "outer"
    shutil.copytree(folder, outer / inner)
    if config_above:
        shutil.copy(folder / "config.json", outer)
    refused(require_checkpoint, outer, f"name {outer / inner}")


FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = save_pretrained(tmp_path_factory.mktemp("whole"))
    return {name: (folder / name).read_bytes() for name in FILES}


@given(data=st.data(), name=st.sampled_from(FILES))
@settings(deadline=None, max_examples=12, derandomize=True)
def test_any_bytes_are_loaded_or_refused_in_one_line(whole, tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("fuzz")
    for other, content in whole.items():
        (folder / other).write_bytes(content)
    content = whole[name]
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(len(content), start + 64)))
    damage = data.draw(st.one_of(st.binary(max_size=16), st.sampled_from([b"null", b"0", b'"'])))
    (folder / name).write_bytes(content[:start] + damage + content[stop:])
    try:
        load_tokenizer(folder)
        load_encoder(folder)
    except InputError as error:
        assert "\n" not in str(error)
