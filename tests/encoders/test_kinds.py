"""Which architectures are teachers: known ones, probed ones, and those refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    T5Config,
    T5Model,
)

from tests.fixtures.models import save_pretrained, tiny_config, tiny_encoder, tiny_tokenizer
from tests.fixtures.refused import refused
from tests.fixtures.teachers import save_teacher
from tinybert.distillation.masked_lm import masked_logits
from tinybert.encoders.checkpoints import (
    load_classifier,
    load_encoder,
    load_masked_lm,
    load_tokenizer,
)
from tinybert.encoders.kinds import require_readable
from tinybert.encoders.layers import last_layer
from tinybert.encoders.signals import matches_scores, read_signals, record_relations

SMALL = {"vocab_size": 43, "d_model": 8, "num_layers": 1, "num_heads": 2, "d_kv": 4, "d_ff": 8}
OTHERS = {
    "gpt2": lambda: GPT2Model(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=43)),
    "t5": lambda: T5Model(T5Config(**SMALL)),
    "bart": lambda: BartModel(
        BartConfig(vocab_size=43, d_model=16, encoder_layers=1, decoder_layers=1)
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_decoders_and_encoder_decoders_are_refused_by_name(tmp_path, kind):
    tiny_tokenizer(tmp_path)
    OTHERS[kind]().save_pretrained(tmp_path)
    line = refused(load_encoder, tmp_path)
    assert f"no text encoder, got model_type '{kind}'" in line and "as bert, roberta" in line


def test_a_bert_that_reads_one_way_is_refused(tmp_path):
    save_pretrained(tmp_path, is_decoder=True)
    assert "is_decoder true" in refused(load_encoder, tmp_path)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_checkpoint_is_refused_by_name_and_never_run(tmp_path, file):
    save_pretrained(tmp_path)
    values = json.loads((tmp_path / file).read_text())
    code = {name: f"own.{name}" for name in ("AutoConfig", "AutoModel", "AutoTokenizer")}
    values |= {"auto_map": code, "model_type": "own_kind", "tokenizer_class": "OwnTokenizer"}
    (tmp_path / file).write_text(json.dumps(values))
    ran = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    if file == "config.json":
        line = refused(load_encoder, tmp_path)
        assert "code of the checkpoint's own, got model_type 'own_kind' with auto_map" in line
    else:  # whatever is loaded, or refused, is transformers' own
        try:
            load_tokenizer(tmp_path)
        except Exception as error:
            assert "own_kind" in str(error) or "trust_remote_code" in str(error)
    assert not ran.exists()


def test_an_encoder_that_reads_one_way_or_pools_its_tokens_is_refused(tmp_path):
    causal = BertModel(BertConfig(**{**tiny_encoder().config.to_dict(), "is_decoder": True}))
    assert "must read both ways, got model_type 'bert'" in refused(
        require_readable, causal, tmp_path
    )
    save_teacher(tmp_path / "funnel", "funnel")
    assert "model_type 'funnel'" in refused(load_encoder, tmp_path / "funnel")


@pytest.mark.parametrize(
    ("kind", "scores"),
    [
        ("roberta", True),
        ("electra", True),
        ("mpnet", False),
        ("deberta-v2", False),
        ("modernbert", False),
        ("squeezebert", False),
    ],
)
def test_relations_are_what_attention_takes_and_scores_are_told_apart(tmp_path, kind, scores):
    folder = save_teacher(tmp_path / kind, kind)
    model = load_encoder(folder).eval()
    assert matches_scores(model) is scores
    assert record_relations(model) == record_relations(model) == 24
    ids = load_tokenizer(folder)(["the cat sat.", "a dog"], padding=True, return_tensors="pt")
    batch = {name: ids[name] for name in ("input_ids", "attention_mask")}
    found = read_signals(model, batch, hidden=True, relations=[1, 2])
    assert set(found.relations) == {1, 2}
    shape = (*batch["input_ids"].shape, 24)
    assert all(x.shape == shape for of in found.relations.values() for x in of)
    if kind == "deberta-v2":  # its maps see relative positions too
        query = model.encoder.layer[1].attention.self.query_proj(found.hidden[1])
        torch.testing.assert_close(found.relations[2].query, query)
    if kind == "squeezebert":  # its maps are convolutions
        value = model.encoder.layers[1].attention.value(found.hidden[1].mT).mT
        torch.testing.assert_close(found.relations[2].value, value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bert", "classifier"),
        ("roberta", "classifier.out_proj"),
        ("modernbert", "classifier"),
        ("xlm", "sequence_summary.summary"),
    ],
)
def test_the_last_layer_of_a_head_is_found_whatever_its_name(tmp_path, kind, name):
    folder = save_teacher(tmp_path / kind, kind)
    model = load_classifier(folder, new_head=True, num_labels=3)
    assert last_layer(model) is model.get_submodule(name)


def test_a_teacher_without_attention_is_refused_in_one_line_where_it_is_to_be_matched(tmp_path):
    model = load_encoder(save_teacher(tmp_path, "fnet"))
    assert not matches_scores(model)
    assert "write terms: [hidden, embedding]" in refused(record_relations, model)


def test_relations_are_read_where_padding_is_the_last_piece():
    model = BertModel(tiny_config(pad_token_id=tiny_config().vocab_size - 1))
    assert record_relations(model) == 24
    assert matches_scores(model)


@pytest.mark.parametrize("kind", ["nomic_bert", "gte"])
def test_weights_stored_fused_are_each_their_own_when_loaded(tmp_path, kind):
    model = load_encoder(save_teacher(tmp_path / kind, kind))
    assert all(w.untyped_storage().nbytes() == w.nbytes for w in model.parameters())
    file = tmp_path / "model.safetensors"
    save_file(model.state_dict(), file)  # as training's checkpoints are
    assert len(load_file(file)) == len(model.state_dict())


def test_words_are_hidden_from_an_attention_that_subtracts_its_mask(tmp_path):
    folder = save_teacher(tmp_path, "deberta-v2", conv_kernel_size=3, conv_act="gelu")
    model, ids = load_masked_lm(folder), torch.full((1, 6), 7)
    real = torch.tensor([[True] * 4 + [False] * 2])
    found = masked_logits(model, {"input_ids": ids, "attention_mask": real}, real)
    assert found.shape == (4, model.config.vocab_size)
