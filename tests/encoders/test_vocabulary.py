"""A student that reads another tokenizer's pieces: their embeddings are means over the old ones."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForMaskedLM,
    MobileBertConfig,
    MobileBertForMaskedLM,
)

from tests.fixtures.tokenizers import MAKES, TEXTS, tokenizer_of
from tinybert.encoders.vocabulary import with_vocabulary
from tinybert.text.vocabulary import count_pieces, trimmed_tokenizer

OLD = tokenizer_of("wordpiece", 400)
NEW = trimmed_tokenizer(OLD, count_pieces(OLD, [TEXTS]), len(OLD) - 40)
SIZES = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 32, "max_position_embeddings": 64, "vocab_size": len(OLD)}
STUDENTS = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SIZES)),
    "bert_masked_lm": lambda: BertForMaskedLM(BertConfig(**SIZES)),
    "width_of_the_vocabulary": lambda: BertModel(
        BertConfig(**{**SIZES, "hidden_size": len(OLD), "num_attention_heads": 1})
    ),
    "electra": lambda: ElectraForMaskedLM(ElectraConfig(**SIZES, embedding_size=12)),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=len(OLD), dim=24, n_layers=1, n_heads=4, hidden_dim=32)
    ),
    "mobilebert": lambda: MobileBertForMaskedLM(
        MobileBertConfig(**SIZES, embedding_size=12, intra_bottleneck_size=12)
    ),
}


def kept_text() -> str:
    """Return words whose pieces are all kept."""
    words = " ".join(TEXTS).split()
    return " ".join(word for word in words if OLD.tokenize(word) == NEW.tokenize(word))


@pytest.mark.parametrize("name", [name for name in STUDENTS if name != "width_of_the_vocabulary"])
def test_texts_of_kept_pieces_are_read_as_before(name):
    torch.manual_seed(0)
    student = STUDENTS[name]().eval()
    made = with_vocabulary(student, OLD, NEW)
    assert type(made) is type(student)
    assert not made.training
    assert made.config.vocab_size == len(NEW)
    assert made.config.pad_token_id == NEW.pad_token_id
    assert made.get_input_embeddings().padding_idx == NEW.pad_token_id
    text = kept_text()[:100]
    assert len(text) == 100
    inputs = [tokenizer(text, return_tensors="pt")["input_ids"] for tokenizer in (OLD, NEW)]
    assert not torch.equal(*inputs)
    with torch.no_grad():
        before, after = student(inputs[0]).logits, made(inputs[1]).logits
    if before.dim() == 3:  # of words: each kept piece's logit
        numbers = [OLD.get_vocab()[piece] for piece in NEW.convert_ids_to_tokens(range(len(NEW)))]
        before = before[..., numbers]
    torch.testing.assert_close(after, before)


def test_a_width_that_equals_the_vocabulary_is_left_alone():
    student = STUDENTS["width_of_the_vocabulary"]()
    made = with_vocabulary(student, OLD, NEW)
    layer = made.encoder.layer[0].attention.self.query.weight
    torch.testing.assert_close(layer, student.encoder.layer[0].attention.self.query.weight)


def test_a_tied_decoder_stays_tied_and_the_old_student_as_it_was():
    student = STUDENTS["bert_masked_lm"]()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    made = with_vocabulary(student, OLD, NEW)
    assert made.get_output_embeddings().weight is made.get_input_embeddings().weight
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_the_same_vocabulary_gives_the_same_student():
    student = STUDENTS["bert"]()
    assert with_vocabulary(student, OLD, OLD) is student


def encoder(tokenizer) -> BertModel:
    torch.manual_seed(0)
    return BertModel(BertConfig(**{**SIZES, "vocab_size": len(tokenizer)}))


def rows_of(old, new, *pieces: str):
    """Return the embeddings of some of the new pieces, and the old table by piece."""
    student = encoder(old)
    table = student.get_input_embeddings().weight
    made = with_vocabulary(student, old, new).get_input_embeddings().weight
    vocab = new.get_vocab()
    return [made[vocab[piece]] for piece in pieces], lambda piece: table[old.get_vocab()[piece]]


def test_a_new_piece_is_the_mean_of_what_it_is_cut_into():
    # The small vocabulary cuts "##house"-like pieces of the large one into its own.
    large, small = OLD, NEW
    gone = [each for each in large.get_vocab() if each not in small.get_vocab()]
    inside = next(each for each in gone if each.startswith("##"))
    first = next(each for each in gone if not each.startswith("##") and each.isascii())
    found, old = rows_of(small, large, inside, first)
    word = "t" + inside.removeprefix("##")  # its pieces after "t" are those of the piece
    assert small.tokenize(word)[0] == "t"
    for row, cut in zip(found, (small.tokenize(word)[1:], small.tokenize(first)), strict=True):
        assert len(cut) > 1
        torch.testing.assert_close(row, torch.stack([old(piece) for piece in cut]).mean(0))


def test_marks_of_a_words_begin_and_inside_are_read_as_what_they_mean():
    bytes_ = tokenizer_of("byte_level", 400)
    wordpiece = OLD
    assert {"Ġthe", "he"} <= bytes_.get_vocab().keys()
    (begin, inside, comma, mask), old = rows_of(wordpiece, bytes_, "Ġthe", "he", ",", "<mask>")
    torch.testing.assert_close(begin, old("the"))
    first, *others = wordpiece.tokenize("uhe")
    assert first == "u"
    torch.testing.assert_close(inside, torch.stack([old(piece) for piece in others]).mean(0))
    torch.testing.assert_close(comma, old(","))
    torch.testing.assert_close(mask, old("[MASK]"))


def test_sentencepieces_mark_is_byte_level_bpes_space():
    unigram, bytes_ = tokenizer_of("unigram", 400), tokenizer_of("byte_level", 400)
    shared = [p for p in unigram.get_vocab() if p[0] == "▁" and f"Ġ{p[1:]}" in bytes_.get_vocab()]
    assert len(shared) > 3
    found, old = rows_of(bytes_, unigram, *shared)
    for piece, row in zip(shared, found, strict=True):
        torch.testing.assert_close(row, old(f"Ġ{piece[1:]}"))
    found, old = rows_of(unigram, bytes_, *(f"Ġ{piece[1:]}" for piece in shared))
    for piece, row in zip(shared, found, strict=True):
        torch.testing.assert_close(row, old(piece))


def test_a_cased_piece_is_cut_as_the_old_tokenizer_reads_it():
    cased = tokenizer_of("cased", 400)
    (upper,), old = rows_of(OLD, cased, "D")
    torch.testing.assert_close(upper, old("d"))


@pytest.mark.parametrize("old", MAKES)
@pytest.mark.parametrize("new", MAKES)
def test_every_new_piece_gets_an_embedding_that_is_a_mean_of_old_ones(old, new):
    old, new = tokenizer_of(old, 400), tokenizer_of(new, 400)
    student = encoder(old)
    table = student.get_input_embeddings().weight
    with torch.no_grad():
        table.copy_(table.abs() + 1)
    made = with_vocabulary(student, old, new).get_input_embeddings().weight
    assert made.shape == (len(new), 24)
    assert (made >= table.min(0).values - 1e-5).all()
    assert (made <= table.max(0).values + 1e-5).all()
    for name in ("pad", "cls", "sep", "mask", "unk"):
        ours, theirs = (getattr(of, f"{name}_token_id") for of in (new, old))
        torch.testing.assert_close(made[ours], table[theirs])
