"""Shares of rows that are cut off, and the lengths that would do."""

import numpy as np
import pandas as pd
import pytest
from transformers import RobertaConfig

from tests.fixtures.models import WORDS, tiny_config, tiny_tokenizer
from tinybert.doctor.lengths import (
    judge,
    judge_positions,
    judge_vocabulary,
    judge_windows,
    lengths_of,
    summary,
)
from tinybert.encoders.positions import positions
from tinybert.tasks.task import Encoding


def encoding(max_length: int, **how) -> Encoding:
    return Encoding("classification", 2, max_length, **how)


def test_shares_and_lengths_are_those_derived_by_hand():
    # Lengths 1 to 200: 72 are longer than 128; the 198th is the 99th percentile; of 200 rows one
    # may be longer (fewer than 1 in 100), so 199 tokens do.
    found = summary(np.random.default_rng(0).permutation(np.arange(1, 201)), 128)
    # 72 rows have 1 to 72 tokens more than 128: 2,628 of all 20,100.
    assert found == (200, 0.36, 2628 / 20100, 198, 199)
    found = judge(found, encoding(128), "mrpc")
    assert found.level == "doubt"
    assert "36.0% of rows cut off at 128 tokens" in found.line
    assert "max_length: 199 in params/tasks/mrpc.yaml" in found.line


def test_one_row_in_a_hundred_may_be_cut_off():
    found = judge(summary(np.array([5] * 99 + [200]), 128), encoding(128), "mrpc")
    assert found == ("right", "1.0% of rows cut off at 128 tokens, 10.4% of all tokens")


def test_both_sentences_and_the_special_tokens_count(tmp_path):
    frame = pd.DataFrame({"sentence1": ["the cat sat"], "sentence2": ["a dog"]})
    found = lengths_of(frame, tiny_tokenizer(tmp_path), encoding(7))
    assert (found.percentile_99, found.longer) == (3 + 2 + 3, 1.0)  # [CLS], [SEP], [SEP]


@pytest.mark.parametrize(("length", "levels"), [(64, []), (65, ["wrong"])])
def test_rows_longer_than_the_positions_are_wrong(length, levels):
    found = judge_positions(length, tiny_config(max_position_embeddings=64), "max_length")
    assert [each.level for each in found] == levels


def test_robertas_positions_start_behind_the_padding():
    assert positions(RobertaConfig(max_position_embeddings=514, pad_token_id=1)) == 512


def test_answers_that_no_window_holds_are_counted(tmp_path):
    passage = " ".join(WORDS[:12] * 2)
    places = [passage.index(WORDS[0]), passage.index(WORDS[0], 1)]
    long = passage[places[0] :]
    answers = [[{"start": 0, "text": WORDS[0]}], [{"start": 0, "text": long}], []]
    frame = pd.DataFrame(
        {"sentence1": ["the cat"] * 3, "sentence2": [passage] * 3, "label": answers}
    )
    tokenizer = tiny_tokenizer(tmp_path)
    how = Encoding("span", 2, 16, "windows", 4)
    found = judge_windows(frame, tokenizer, how, "mine")
    assert found.level == "doubt"
    assert "1 of 2 answers stand in no window of 16 tokens whole, 0 of 3 questions" in found.line
    assert "raise stride (now 4) or max_length in params/tasks/mine.yaml" in found.line
    assert judge_windows(frame, tokenizer, how._replace(max_length=64), "mine").level == "right"
    asked = frame.assign(sentence1=passage)
    assert "3 of 3 questions lose their end" in judge_windows(asked, tokenizer, how, "mine").line


def test_windows_lose_nothing_and_head_and_tail_the_middle():
    found = summary(np.array([5] * 9 + [200]), 128)
    windows = judge(found, encoding(128, long="windows", stride=32), "mine")
    assert windows == (
        "right",
        "nothing cut off: 10.0% of rows are read in windows of 128 tokens that share 32",
    )
    assert (
        "10.0% of rows lose their middle" in judge(found, encoding(128, long="head_tail"), "m").line
    )


def test_what_fewer_pieces_make_of_rows_is_said_and_doubted(tmp_path):
    letters = [*"catdog", *(f"##{letter}" for letter in "catdog")]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    few = tiny_tokenizer(tmp_path / "few", [*special, *letters, "cat"])
    more = tiny_tokenizer(tmp_path / "more", [*special, *letters, "cat", "dog"])
    frame = pd.DataFrame({"sentence1": ["cat " * 10, "cat " * 6 + "dog"]})
    # 12 and 9 tokens with [CLS] and [SEP]; "dog" becomes 3 pieces: 12 and 11, 23 of 21.
    found = judge_vocabulary(frame, more, few, encoding(16), "dev")
    assert found.level == "right"
    assert found.line == (
        "dev: 18 of 19 pieces make a row of 10.5 tokens 11.5, 1.10 times as many; 0 of 2 rows are "
        "cut off at 16 that were not"
    )
    cut = judge_vocabulary(frame, more, few, encoding(10), "dev")
    assert cut.level == "doubt"
    assert "1 of 2 rows are cut off at 10 that were not; write more vocabulary.max_p" in cut.line
    windows = encoding(10, long="windows", stride=2)
    assert judge_vocabulary(frame, more, few, windows, "dev").level == "right"
    longer = judge_vocabulary(frame[1:], more, few, encoding(16), "dev")  # 11 of 9 tokens
    assert longer.level == "doubt"
