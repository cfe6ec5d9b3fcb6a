"""Questions with windows of their passages: nothing of a passage is lost, and answers are found."""

import numpy as np
import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaTokenizerFast

from tests.fixtures.workspace import sentences
from tinybert.encoders.checkpoints import load_tokenizer, packaged
from tinybert.text.windows import answer_positions, encode_questions

PASSAGE = (
    "In October  1973 the members of OAPEC proclaimed an oil embargo.\nThe price had risen "
    "from US$3 per barrel to nearly $12 globally; \u00dcberraschend, and 5.2% more \U0001f600 "
    "later."
)
QUESTION = "When did the oil crisis begin?"


@pytest.fixture(scope="module")
def bert():
    return load_tokenizer(packaged())


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bytes")
    pieces = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces.train_from_iterator(sentences(300, 1), vocab_size=400, special_tokens=special)
    pieces.save_model(str(folder))
    files = {"vocab": str(folder / "vocab.json"), "merges": str(folder / "merges.txt")}
    return RobertaTokenizerFast(**files)


@pytest.fixture(params=["bert", "byte_level"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


def window_places(windows):
    return np.split(windows.places, windows.ends[:-1])


def whole_places(tokenizer, passage):
    """The places of a passage's tokens where nothing is cut."""
    encoded = tokenizer(passage, add_special_tokens=False, return_offsets_mapping=True)
    return [place for place in map(tuple, encoded["offset_mapping"]) if place[0] < place[1]]


@pytest.mark.parametrize(("max_length", "stride"), [(40, 0), (40, 8), (64, 16), (400, 32)])
def test_windows_of_a_row_hold_its_passage_and_share_tokens(tokenizer, max_length, stride):
    windows = encode_questions(tokenizer, ["Who?"], [PASSAGE], max_length, stride)
    assert all(len(ids) <= max_length for ids in windows.ids)
    assert len(windows.places) == sum(map(len, windows.ids)) == windows.ends[-1]
    found = {tuple(place) for place in windows.places.tolist() if place[0] >= 0}
    assert found == set(whole_places(tokenizer, PASSAGE))
    question = tokenizer("Who?", "b").sequence_ids().index(1)  # what stands before the passage
    passage: list[int] = []
    for number, ids in enumerate(windows.ids):
        there, shared = ids[question:-1].tolist(), stride if number else 0
        assert passage[len(passage) - shared :] == there[:shared]
        passage += there[shared:]
    assert passage == tokenizer(PASSAGE, add_special_tokens=False)["input_ids"]


def test_only_tokens_of_the_passage_have_places_and_its_own_characters(bert):
    windows = encode_questions(bert, ["a cat?"], ["The  cat\nsat."], 32, 4)
    assert bert.convert_ids_to_tokens(windows.ids[0].tolist()) == (
        "[CLS] a cat ? [SEP] the cat sat . [SEP]".split()
    )
    passage = [[0, 3], [5, 8], [9, 12], [12, 13]]
    assert windows.places.tolist() == [[-1, -1]] * 5 + passage + [[-1, -1]]
    # [CLS], three pieces and [SEP] are the first segment.
    assert windows.first_lengths == [5]
    assert (windows.origins.tolist(), windows.num_cut) == ([0], 0)


def test_a_tokenizer_without_types_has_one_segment(byte_level):
    windows = encode_questions(byte_level, [QUESTION], [PASSAGE], 100, 16)
    assert windows.first_lengths == [len(ids) for ids in windows.ids]


def test_rows_are_numbered_through_in_every_chunk(bert, monkeypatch):
    whole = encode_questions(bert, ["a?", QUESTION, "b?"] * 2, ["c", PASSAGE, ""] * 2, 40, 8)
    monkeypatch.setattr("tinybert.text.windows.CHUNK", 2)
    parts = encode_questions(bert, ["a?", QUESTION, "b?"] * 2, ["c", PASSAGE, ""] * 2, 40, 8)
    assert set(whole.origins.tolist()) == set(range(6))
    assert (np.diff(whole.origins) >= 0).all()
    assert whole.origins.tolist() == parts.origins.tolist()
    assert whole.places.tolist() == parts.places.tolist()
    assert [ids.tolist() for ids in whole.ids] == [ids.tolist() for ids in parts.ids]


def test_an_empty_passage_gives_one_window_without_places(tokenizer):
    windows = encode_questions(tokenizer, [QUESTION, "Who?"], ["", "He."], 64, 8)
    assert windows.origins.tolist() == [0, 1]
    assert (window_places(windows)[0] == -1).all()


def test_no_questions_give_no_windows(bert):
    windows = encode_questions(bert, [], [], 64, 8)
    assert (windows.ids, windows.places.shape, windows.ends.tolist()) == ([], (0, 2), [])
    assert answer_positions([], windows.ends, windows.origins, windows.places).shape == (0, 2)


@pytest.mark.parametrize(("max_length", "stride"), [(8, 3), (9, 0), (16, 11), (64, 16), (64, 59)])
def test_a_long_question_is_cut_from_its_end_and_every_window_goes_on(
    tokenizer, max_length, stride
):
    question = "\U0001f600 unbelievably tokenized questions " * 30
    windows = encode_questions(tokenizer, [question, "a"], [PASSAGE] * 2, max_length, stride)
    assert windows.num_cut >= 1
    assert max(map(len, windows.ids)) <= max_length
    found = {tuple(place) for place in windows.places[: windows.ends[-1]].tolist()}
    assert found - {(-1, -1)} == set(whole_places(tokenizer, PASSAGE))


def test_a_question_has_half_of_what_stride_leaves(bert):
    # 64 tokens less 3 special ones less 21 shared are 40: a question has 20, and no more.
    twenty = " ".join(["cat"] * 20)
    at_most = encode_questions(bert, [twenty], ["dog"], 64, 21)
    longer = encode_questions(bert, [twenty + " cat"], ["dog"], 64, 21)
    assert (at_most.num_cut, longer.num_cut) == (0, 1)
    assert at_most.ids[0].tolist() == longer.ids[0].tolist()


def positions_of(tokenizer, text, passage=PASSAGE, max_length=400, stride=16):
    """Where an answer is, and what its tokens say, in each window."""
    windows = encode_questions(tokenizer, [QUESTION], [passage], max_length, stride)
    answers = [[{"start": passage.index(text), "text": text}, {"start": 0, "text": passage}]]
    found = answer_positions(answers, windows.ends, windows.origins, windows.places)
    said = []
    for (first, last), places in zip(found, window_places(windows), strict=True):
        said.append(passage[places[first, 0] : places[last, 1]] if last else None)
    return found.tolist(), said


@pytest.mark.parametrize(
    "text", ["October  1973", "embargo.\nThe", "\u00dcberraschend", "\U0001f600"]
)
def test_an_answer_of_whole_tokens_comes_back_character_by_character(tokenizer, text):
    assert positions_of(tokenizer, text)[1] == [text]


def test_an_answer_takes_the_whole_of_a_token_that_it_begins_or_ends_in(bert):
    assert positions_of(bert, "ctober  1973 t")[1] == ["October  1973 the"]
    assert positions_of(bert, " oil ")[1] == ["oil"]


def test_an_answer_that_begins_with_what_no_token_holds_is_found(bert):
    # The tokenizer takes the invisible character out.
    assert positions_of(bert, "\u200bcat", "\u200bcat sat")[1] == ["cat"]


def test_positions_count_from_the_windows_first_token(bert):
    windows = encode_questions(bert, ["a?", "a?"], ["The cat sat.", "The cat sat."], 32, 4)
    answers = [[{"start": 0, "text": "The"}], [{"start": 4, "text": "cat sat"}]]
    found = answer_positions(answers, windows.ends, windows.origins, windows.places)
    # [CLS] a ? [SEP] the cat sat . [SEP]
    assert found.tolist() == [[4, 4], [5, 6]]


def test_an_unanswerable_question_is_answered_by_the_first_token(bert):
    windows = encode_questions(bert, ["a?", "a?"], ["The cat.", "The cat."], 32, 4)
    answers = [[], [{"start": 4, "text": "cat"}]]
    found = answer_positions(answers, windows.ends, windows.origins, windows.places)
    assert found.tolist() == [[0, 0], [5, 5]]
    nothing = answer_positions([[], []], windows.ends, windows.origins, windows.places)
    assert nothing.tolist() == [[0, 0], [0, 0]]


def test_a_window_with_a_part_of_the_answer_does_not_have_it(bert):
    # 24 tokens: [CLS], "when did the oil crisis begin ?" of 7, [SEP], 14 of the passage, [SEP].
    text = "embargo.\nThe price"
    windows = encode_questions(bert, [QUESTION], [PASSAGE], 24, 4)
    found, said = positions_of(bert, text, max_length=24, stride=4)
    start, end = PASSAGE.index(text), PASSAGE.index(text) + len(text)
    for pair, places, words in zip(found, window_places(windows), said, strict=True):
        inside = places[places[:, 0] >= 0]
        whole = inside[0, 0] <= start and inside[-1, 1] >= end
        assert (words == text) if whole else (pair == [0, 0])
    ends = [places[:, 1] for places in window_places(windows)]
    partly = [(each > start).any() and not (each >= end).any() for each in ends]
    assert any(partly) and text in said
