"""A tokenizer keeps its most used pieces: what could be written still can be, and nothing else."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    CamembertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from tests.fixtures.refused import refused
from tests.fixtures.tokenizers import MAKES, TEXTS, tokenizer_of
from tinybert.encoders.checkpoints import load_tokenizer, packaged
from tinybert.text.vocabulary import (
    count_corpus,
    count_pieces,
    piece_counts,
    trimmed_tokenizer,
)

SPECIAL = ("pad", "unk", "cls", "sep", "mask")
ODD = [
    "",
    " ",
    "\x00\x07",
    "😀 🙂‍↔️",
    "漢字",
    "e\u0301\u200d",
    "x" * 200,
    "\ufffd\ud7ff",
    "a\nb\t c",
]


def full(make: str):
    return tokenizer_of(make, 400)


def counted(tokenizer):
    return count_pieces(tokenizer, [TEXTS])


def floor(tokenizer) -> int:
    """Return how few pieces a tokenizer can have, as the refusal says it."""
    line = refused(trimmed_tokenizer, tokenizer, counted(tokenizer), 1)
    return int(re.search(r" are ([\d,]+), got", line)[1].replace(",", ""))


def halved(make: str):
    """Return a tokenizer with the middle number of pieces between the fewest and all."""
    tokenizer = full(make)
    return trimmed_tokenizer(
        tokenizer, counted(tokenizer), (floor(tokenizer) + len(tokenizer)) // 2
    )


def written(tokenizer, text: str) -> str:
    """Return a text's pieces one after the other, without marks inside of words."""
    return "".join(piece.removeprefix("##") for piece in tokenizer.tokenize(text))


HALVED = {make: halved(make) for make in MAKES}


@pytest.mark.parametrize("make", MAKES)
def test_numbers_are_compact_and_in_the_old_order(make):
    old, new = full(make).get_vocab(), HALVED[make].get_vocab()
    assert sorted(new.values()) == list(range(len(new)))
    assert sorted(new, key=new.get) == sorted(new, key=old.get)


@pytest.mark.parametrize("make", MAKES)
def test_special_pieces_stand_where_they_stood(make):
    old, new = full(make), HALVED[make]
    for name in SPECIAL:
        token = getattr(old, f"{name}_token")
        assert getattr(new, f"{name}_token") == token
        assert getattr(new, f"{name}_token_id") == new.get_vocab()[token]
    for texts in (("the cat",), ("the cat", "a dog ran")):
        ours, theirs = new(*texts), old(*texts)
        marked = [
            [token if token in old.all_special_tokens else "" for token in each.tokens()]
            for each in (ours, theirs)
        ]
        special = [[t for t in tokens if t] for tokens in marked]
        assert special[0] == special[1]
        assert (marked[0][0], marked[0][-1]) == (marked[1][0], marked[1][-1])
        assert set(ours.get("token_type_ids", [])) == set(theirs.get("token_type_ids", []))
        assert ours.keys() == theirs.keys()


@pytest.mark.parametrize("make", MAKES)
def test_saved_files_load_as_they_were(make, tmp_path):
    HALVED[make].save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.get_vocab() == HALVED[make].get_vocab()
    for text in (*TEXTS, *ODD):
        assert loaded(text)["input_ids"] == HALVED[make](text)["input_ids"]


@pytest.mark.parametrize("make", MAKES)
def test_keeping_everything_changes_nothing(make, capsys):
    tokenizer = full(make)
    for size in (len(tokenizer), len(tokenizer) + 1):
        assert trimmed_tokenizer(tokenizer, counted(tokenizer), size) is tokenizer
    assert f"all {len(tokenizer)} pieces are kept" in capsys.readouterr().out
    one_less = trimmed_tokenizer(tokenizer, counted(tokenizer), len(tokenizer) - 1)
    (gone,) = tokenizer.get_vocab().keys() - one_less.get_vocab().keys()
    for text in TEXTS:
        if gone not in tokenizer.tokenize(text):
            assert one_less.tokenize(text) == tokenizer.tokenize(text)


@pytest.mark.parametrize("make", MAKES)
def test_more_pieces_are_those_of_fewer_and_further_ones(make):
    tokenizer = full(make)
    counts, fewest = counted(tokenizer), floor(tokenizer)
    before: set[str] = set()
    for size in range(fewest, len(tokenizer), max(1, (len(tokenizer) - fewest) // 5)):
        pieces = trimmed_tokenizer(tokenizer, counts, size).get_vocab().keys()
        assert len(pieces) == size
        assert before <= pieces
        before = set(pieces)


@pytest.mark.parametrize("make", MAKES)
@given(text=st.text(st.sampled_from(sorted(set("".join(TEXTS)))), max_size=60))
@settings(max_examples=60, deadline=None)
def test_what_could_be_written_still_can_be(make, text):
    old, new = full(make), HALVED[make]
    if old.unk_token_id not in old(text)["input_ids"]:
        ids = new(text)["input_ids"]
        assert new.unk_token_id not in ids
        assert written(new, text) == written(old, text)


@pytest.mark.parametrize("make", MAKES)
@given(text=st.text(max_size=30))
@settings(max_examples=40, deadline=None)
def test_any_text_is_cut_and_no_more_of_it_is_unknown(make, text):
    for each in (text, *ODD):
        old, new = full(make)(each)["input_ids"], HALVED[make](each)["input_ids"]
        unknown = [
            ids.count(tokenizer.unk_token_id)
            for ids, tokenizer in ((old, full(make)), (new, HALVED[make]))
        ]
        assert unknown[1] <= unknown[0]
        assert len(new) >= len(old)


@pytest.mark.parametrize("make", MAKES)
def test_a_text_of_kept_pieces_is_cut_as_before(make):
    old, new = full(make), HALVED[make]
    kept = new.get_vocab()
    texts = [
        word for text in TEXTS for word in text.split() if set(old.tokenize(word)) <= set(kept)
    ]
    assert len(texts) > 10
    for text in texts:
        assert new.tokenize(text) == old.tokenize(text)


NAMED = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
ENDS = [("<s>", 6), ("</s>", 7)]
PROCESSORS = {
    "bert": processors.BertProcessing(ENDS[1], ENDS[0]),
    "template": processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ENDS),
    "sequence": processors.Sequence([processors.RobertaProcessing(ENDS[1], ENDS[0])]),
}


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_most_used_pieces_are_kept_and_what_they_are_merged_from(processor):
    # "aab" is merged from "aa" and "b", "aa" from "a" and "a": used by itself, it needs "aa" too.
    merges = [("a", "a"), ("b", "b"), ("aa", "b")]
    vocab = ["a", "b", "bb", "aa", "aab", *NAMED.values()]
    numbers = {each: number for number, each in enumerate(vocab)}
    assert [numbers[name] for name, _ in ENDS] == [number for _, number in ENDS]
    backend = Tokenizer(models.BPE(numbers, merges))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = PROCESSORS[processor]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **NAMED)
    counts = count_pieces(tokenizer, [["aab aab bb"]])
    assert counts.tolist() == [0, 0, 1, 0, 2, 0, 0, 0, 0]
    two = trimmed_tokenizer(tokenizer, counts, 8)
    assert two.get_vocab().keys() - {*NAMED.values(), "a", "b"} == {"aa", "aab"}
    assert two.tokenize("aab bb") == ["aab", "b", "b"]
    one = trimmed_tokenizer(tokenizer, counts, 7)
    assert one.tokenize("aab bb") == ["aa", "b", "b", "b"]
    # a, b, aa, aab, <pad>, <s>, </s>, <unk>
    assert two("aab")["input_ids"] == [5, 3, 6]


SENTENCEPIECE = {
    XLMRobertaTokenizer: ["<s>", "<pad>", "</s>", "<unk>"],
    CamembertTokenizer: [
        "<s>NOTUSED",
        "<pad>",
        "</s>NOTUSED",
        "<unk>",
        "<unk>NOTUSED",
        "<s>",
        "</s>",
    ],
    DebertaV2Tokenizer: ["[PAD]", "[CLS]", "[SEP]", "[UNK]"],
}


@pytest.mark.parametrize("make", SENTENCEPIECE)
def test_tokenizers_of_published_classes_load_with_their_class(make, tmp_path):
    words = [
        piece for piece in full("unigram").backend_tokenizer.get_vocab() if piece[0] not in "<"
    ]
    vocab = [(each, 0.0) for each in SENTENCEPIECE[make]]
    vocab += [(each, -float(place)) for place, each in enumerate(sorted(words), 1)]
    tokenizer = make(vocab=vocab)
    fewest = floor(tokenizer)
    trimmed = trimmed_tokenizer(tokenizer, counted(tokenizer), fewest + 20)
    trimmed.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is make
    assert len(loaded) == fewest + 20
    for text in ("the cat sat on the mat", *ODD):
        assert loaded(text)["input_ids"] == trimmed(text)["input_ids"]
        assert (loaded.unk_token_id in loaded(text)["input_ids"]) == (
            tokenizer.unk_token_id in tokenizer(text)["input_ids"]
        )


def test_roberta_keeps_its_class_and_every_byte(tmp_path):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    model = json.loads(backend.to_str())["model"]
    tokenizer = RobertaTokenizer(vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]])
    assert floor(tokenizer) == 256 + len(special)
    trimmed = trimmed_tokenizer(tokenizer, counted(tokenizer), 300)
    trimmed.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is RobertaTokenizer
    for text in ("a <mask> cat", *ODD):
        ids = loaded(text)["input_ids"]
        assert ids == trimmed(text)["input_ids"]
        assert loaded.decode(ids) == tokenizer.decode(tokenizer(text)["input_ids"])


@pytest.fixture(scope="module")
def bert():
    return load_tokenizer(packaged())


def test_berts_floor_is_its_characters_and_special_pieces(bert):
    # 1,994 pieces of one character, ## before it or not, and [PAD], [UNK], [CLS], [SEP], [MASK].
    single = [piece for piece in bert.get_vocab() if len(piece.removeprefix("##")) == 1]
    assert floor(bert) == len(single) + 5 == 1999


def test_berts_most_used_pieces_stay_whole(bert):
    corpus = count_pieces(bert, [["the cat sat", "unbelievable"] * 5])
    counts = piece_counts(bert, [["the dog"]], corpus)
    small = trimmed_tokenizer(bert, counts, 2004)
    # One more than the floor is "the", as task and corpus have it; then the task's, the corpus's.
    assert small.tokenize("The dog") == ["the", "dog"]
    assert small.tokenize("cat") == ["cat"]
    assert small.tokenize("house") == ["h", "##o", "##u", "##s", "##e"]
    assert [small.cls_token_id, small.sep_token_id] == small("")["input_ids"]
    assert small.model_max_length == bert.model_max_length
    assert small.backend_tokenizer.truncation is None
    assert small.backend_tokenizer.padding is None


def test_a_task_counts_three_times_as_much_as_the_corpus(bert):
    corpus = np.zeros(len(bert))
    corpus[[2000, 2001]] = 3, 1
    counts = piece_counts(bert, [["the the", "cat"]], corpus)
    ids = bert.get_vocab()
    assert counts[ids["the"]] == pytest.approx(2 / 3)
    assert counts[ids["cat"]] == pytest.approx(1 / 3)
    assert counts[2000] == pytest.approx(3 / 4 / 3)
    assert counts.sum() == pytest.approx(4 / 3)


def test_a_corpus_is_counted_in_its_blocks_or_read_again(tmp_path, bert):
    lines = ["the cat sat\n", "\n", "the dog\n"]
    (tmp_path / "text.txt").write_text("".join(lines))
    ids = bert(" ".join(line.strip() for line in lines))["input_ids"]
    np.save(tmp_path / "blocks.npy", np.array([ids], dtype=np.int32))
    counts = count_corpus(bert, tmp_path, bert)
    assert counts[bert.get_vocab()["the"]] == 2
    other = full("cased")
    assert count_corpus(other, tmp_path, bert).tolist() == count_pieces(other, [lines]).tolist()


def test_what_cannot_be_trimmed_is_refused():
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    line = refused(trimmed_tokenizer, tokenizer, np.ones(3), 2)
    assert "got WordLevel; write `vocabulary: teacher`" in line
