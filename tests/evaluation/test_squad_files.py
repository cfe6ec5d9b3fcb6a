"""Files for SQuAD's script come back as they were written."""

import json

import pytest

from tests.fixtures.refused import refused
from tinybert.evaluation.squad_files import (
    read_squad_predictions,
    write_null_odds,
    write_squad_predictions,
)


def test_predictions_are_an_object_of_answers_by_id(tmp_path):
    file = tmp_path / "dev.json"
    write_squad_predictions(file, ["5a", "5b", "5c"], ["Z\u00fcrich", "", 'a "b"\n c'])
    expected = {"5a": "Z\u00fcrich", "5b": "", "5c": 'a "b"\n c'}
    assert json.loads(file.read_text(encoding="utf-8")) == expected
    assert read_squad_predictions(file) == expected


def test_null_odds_are_an_object_of_numbers_by_id(tmp_path):
    file = tmp_path / "odds.json"
    write_null_odds(file, ["5a", "5b"], [-1.5, 1e6])
    assert json.loads(file.read_text()) == {"5a": -1.5, "5b": 1e6}


@pytest.mark.parametrize("write", [write_squad_predictions, write_null_odds])
def test_an_id_twice_or_without_a_value_is_an_error(tmp_path, write):
    with pytest.raises(ValueError, match="an id of its own, got 1 ids"):
        write(tmp_path / "dev.json", ["5a", "5a"], [1, 2])
    with pytest.raises(ValueError):
        write(tmp_path / "dev.json", ["5a"], [])


@pytest.mark.parametrize("content", ['{"5a": 1}', '["5a"]', '{"5a"', None])
def test_other_content_is_refused(tmp_path, content):
    file = tmp_path / "dev.json"
    if content is not None:
        file.write_text(content)
    assert "run `dvc repro --force evaluate`" in refused(read_squad_predictions, file)
