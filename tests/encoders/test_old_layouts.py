"""Checkpoints as older tools left them: each gives the weights that it was made of, or one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fixtures.models import VOCABULARY, save_pretrained, tiny_tokenizer
from tests.fixtures.refused import refused
from tests.fixtures.workspace import ROOT, make_workspace, run_stage
from tinybert.encoders.checkpoints import (
    load_classifier,
    load_encoder,
    load_masked_lm,
    load_tokenizer,
    require_checkpoint,
    save_tokenizer,
)

Weights = dict[str, torch.Tensor]
TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
WORDS, DECODER = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"


def rewritten(folder: Path, change: Callable[[Weights], Weights]) -> Path:
    file = folder / "model.safetensors"
    found = {name: weight.clone() for name, weight in change(load_file(file)).items()}
    save_file(found, file, metadata={"format": "pt"})
    return folder


def reconfigured(folder: Path, drop: tuple[str, ...] = (), **changes: object) -> Path:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in config.items() if key not in drop}))
    return folder


def in_parts(folder: Path) -> Path:
    """Store the weights in two files with an index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(weights)}
    for file in set(parts.values()):
        part = {name: weights[name].clone() for name in parts if parts[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": parts}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: weight for name, weight in weights.items()}


def gamma_and_beta(weights: Weights) -> Weights:
    def old(name: str) -> str:
        return name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")

    return {old(name): weight for name, weight in weights.items()}


def encoder_alone(weights: Weights) -> Weights:
    return {n.removeprefix("bert."): w for n, w in weights.items() if n.startswith("bert.")}


def without(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).unlink(missing_ok=True)
    return folder


def vocabulary_alone(folder: Path) -> Path:
    tiny_tokenizer(folder)
    return without(folder, *TOKENIZER)


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "parts under a prefix": lambda folder: in_parts(rewritten(folder, prefixed("module."))),
    "sentence-transformers": lambda folder: rewritten(
        folder, lambda weights: prefixed("0.auto_model.")(encoder_alone(weights))
    ),
    "gamma and beta": lambda folder: rewritten(folder, gamma_and_beta),
    "gamma and beta under a prefix": lambda folder: rewritten(
        folder, lambda weights: prefixed("_orig_mod.")(gamma_and_beta(weights))
    ),
    "the decoder twice": lambda folder: rewritten(folder, lambda w: w | {DECODER: w[WORDS]}),
    "no architectures, torch_dtype": lambda folder: reconfigured(
        folder, ("architectures", "dtype"), torch_dtype="float32"
    ),
    "vocab.txt alone": vocabulary_alone,
    "no tokenizer_config.json": lambda folder: without(folder, *TOKENIZER[1:]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_gives_the_weights_and_pieces_that_it_was_made_of(tmp_path, layout):
    right = save_pretrained(tmp_path / "right")
    folder = LAYOUTS[layout](save_pretrained(tmp_path / "old"))
    weights, expected = load_encoder(folder).state_dict(), load_encoder(right).state_dict()
    assert all(torch.equal(weights[n], expected[n]) for n in expected if "pooler" not in n)
    text = "The cat sat, flewing"
    tokenizer = load_tokenizer(folder)
    assert tokenizer(text)["input_ids"] == load_tokenizer(right)(text)["input_ids"]
    new = load_classifier(folder, new_head=True, num_labels=3)
    new.save_pretrained(tmp_path / "saved")
    save_tokenizer(tokenizer, new, tmp_path / "saved")
    assert torch.equal(load_classifier(tmp_path / "saved").classifier.weight, new.classifier.weight)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_decoder_that_is_not_the_embeddings_stays_as_it_is_stored(tmp_path, prefix):
    folder = save_pretrained(tmp_path)
    words = load_file(folder / "model.safetensors")[WORDS]
    rewritten(folder, lambda weights: prefixed(prefix)(weights | {DECODER: weights[WORDS] + 1}))
    model = load_masked_lm(folder)
    assert torch.equal(model.get_input_embeddings().weight, words)
    assert torch.equal(model.get_output_embeddings().weight, words + 1)


def test_one_token_type_will_do_and_none_is_refused_where_the_model_looks_it_up(tmp_path):
    load_encoder(save_pretrained(tmp_path / "one", type_vocab_size=1))
    none = save_pretrained(tmp_path / "none", type_vocab_size=0)
    line = refused(load_encoder, none)
    assert "token_type_embeddings.weight of shape (0, 24)" in line and "type_vocab_size 1" in line


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["sentencepiece.bpe.model"], "got sentencepiece.bpe.model of SentencePiece without"),
        (["vocab.json"], "got vocab.json alone"),
        (["merges.txt"], "got merges.txt alone"),
        ([], "got no file of it"),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_named_with_its_cure(tmp_path, there, expected):
    folder = without(save_pretrained(tmp_path), *TOKENIZER, "vocab.txt")
    for name in there:
        (folder / name).touch()
    line = refused(require_checkpoint, folder)
    assert expected in line
    assert ("docs/old-checkpoints.md" in line) == ("sentencepiece" in expected)


def test_pickled_weights_alone_are_refused_with_the_page_that_converts_them(tmp_path):
    folder = without(save_pretrained(tmp_path), "model.safetensors")
    (folder / "pytorch_model.bin").touch()
    line = refused(require_checkpoint, folder)
    assert "got the pickled pytorch_model.bin" in line and "docs/old-checkpoints.md says" in line
    assert (ROOT / "docs/old-checkpoints.md").is_file()


@pytest.mark.parametrize(("capital", "doubts"), [(0, 0), (4, 0), (8, 1)])
def test_capitals_that_no_text_can_give_are_said(tmp_path, capsys, capital, doubts):
    words = [word.upper() for word in VOCABULARY[5 : 5 + capital]]
    folder = save_pretrained(tmp_path, vocabulary=[*VOCABULARY, *words])
    load_tokenizer(folder)
    said = capsys.readouterr().out
    assert said.count(f"no text can give {capital} of its") == doubts
    folder = without(folder, *TOKENIZER)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert load_tokenizer(folder).tokenize("THE the")[0] == ("THE" if capital else "[UNK]")
    assert not capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_student_is_distilled_from_a_layout(tmp_path, monkeypatch, layout):
    folder = make_workspace(tmp_path)
    LAYOUTS[layout](folder / "data/raw/teacher")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("TINYBERT_DOCTOR", "warn")  # a teacher of two epochs knows nothing
    for stage in ("prepare_corpus", "word_vectors", "fetch_teacher"):
        run_stage(stage)
    for stage in ("prepare_task", "finetune_teacher", "augment", "teacher_logits"):
        run_stage(stage, "reviews")
    run_stage("general_distill", "tinybert_mini")
    for stage in ("intermediate_distill", "prediction_distill", "evaluate"):
        run_stage(stage, "tinybert_mini", "reviews")
    load_classifier(Path("models/prediction/tinybert_mini/reviews"))
