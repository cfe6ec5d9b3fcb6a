"""Shares of rows that are cut off, and the lengths that would do."""

import numpy as np
import pandas as pd
import pytest
from transformers import RobertaConfig

from tests.fixtures.models import tiny_config, tiny_tokenizer
from tinybert.doctor.lengths import judge, judge_positions, lengths_of, summary
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
