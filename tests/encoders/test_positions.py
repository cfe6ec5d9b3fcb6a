"""Rows longer than a model's positions are refused, in the doctor's words, wherever one is run."""

import pytest
from transformers import AutoConfig, AutoModel, DebertaV2Config, RobertaConfig

from tests.fixtures.models import tiny_config
from tests.fixtures.refused import refused
from tinybert.doctor.lengths import judge_positions
from tinybert.encoders.positions import AFTER_PADDING, positions, require_positions


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


@pytest.mark.parametrize("kind", ["bert", *sorted(AFTER_PADDING)])
def test_positions_are_the_rows_of_the_table_that_a_text_can_reach(kind):
    tiny = {"vocab_size": 500, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        kind, **tiny, intermediate_size=32, max_position_embeddings=66, pad_token_id=1
    )
    table = AutoModel.from_config(config).get_submodule("embeddings.position_embeddings")
    first = 0 if table.padding_idx is None else table.padding_idx + 1
    assert positions(config) == len(table.weight) - first
