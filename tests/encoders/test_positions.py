"""Rows longer than a model's positions are refused, in the doctor's words, wherever one is run."""

import pytest
from transformers import DebertaV2Config, RobertaConfig

from tests.fixtures.models import tiny_config
from tests.fixtures.refused import refused
from tinybert.doctor.lengths import judge_positions
from tinybert.encoders.positions import positions, require_positions


@pytest.mark.parametrize(
    ("config", "usable"),
    [
        (tiny_config(max_position_embeddings=64), 64),
        (RobertaConfig(max_position_embeddings=66, pad_token_id=1), 64),
        (DebertaV2Config(max_position_embeddings=64), 64),
    ],
)
def test_stage_and_doctor_refuse_the_same_lengths_in_the_same_words(config, usable):
    assert positions(config) == usable
    require_positions(usable, config, "max_length")
    assert judge_positions(usable, config, "max_length") == []
    line = refused(require_positions, usable + 1, config, "max_length")
    expected = f"max_length: longer than the teacher's {usable} positions, got {usable + 1}"
    assert line.startswith(expected)
    assert judge_positions(usable + 1, config, "max_length") == [("wrong", line)]
