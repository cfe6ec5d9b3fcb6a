"""Heads, layer maps, widths and vocabularies that do not fit are found."""

import pytest

from tests.fixtures.models import tiny_config, tiny_encoder, tiny_tokenizer
from tinybert.doctor.fit import fit, fit_by_map, relations_fit, vocabulary_fits
from tinybert.settings.systems import LayerPhase

LAYERS = {"attention": 1.0, "hidden": 1.0}


def lines(found, level):
    return [each.line for each in found if each.level == level]


def test_what_fits_is_told_in_words():
    found = fit(tiny_config(), tiny_config(num_hidden_layers=4), LAYERS, [2, 4], "per_layer")
    assert lines(found, "right") == ["width 24 to 24 per layer", "4 heads", "layers 1<-2 2<-4"]


@pytest.mark.parametrize(
    ("student", "layer_map", "projection", "expected"),
    [
        ({"num_attention_heads": 2}, "uniform", "shared", "needs the teacher's 4 heads, got 2"),
        ({"hidden_size": 16}, "uniform", "identity", "identity needs equal widths"),
        ({}, [1, 5], "shared", "the teacher has layers 1 to 4, got 5"),
        ({"num_hidden_layers": 6}, "top", "shared", "at most as many student layers"),
    ],
)
def test_what_does_not_fit_is_wrong(student, layer_map, projection, expected):
    teacher = tiny_config(num_hidden_layers=4)
    found = fit_by_map(tiny_config(**student), teacher, LAYERS, layer_map, projection)
    (line,) = lines(found, "wrong")
    assert expected in line


def test_heads_may_differ_where_attention_is_not_matched():
    teacher = tiny_config(num_attention_heads=2)
    assert not lines(fit(tiny_config(), teacher, {"hidden": 1.0}, [1, 2], "shared"), "wrong")
    assert fit(tiny_config(), teacher, {"prediction": 1.0}, [], "shared") == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"relation_heads": 5}, "must divide the student's width 24 and the teacher's 16, got 5"),
        ({"relation_heads": 4, "relation_layer": 3}, "at most the teacher's 2 layers, got 3"),
    ],
)
def test_relations_of_a_phase_to_come_are_looked_at(keys, expected):
    phase, teacher = LayerPhase(terms=["relations"], **keys), tiny_encoder(hidden_size=16)
    (found,) = relations_fit(tiny_config(), teacher, {"relations": 1.0}, phase)
    assert expected in found.line and found.level == "wrong"
    assert relations_fit(tiny_config(), teacher, {"attention": 1.0}, phase) == []


def test_layers_in_another_order_are_a_doubt():
    found = fit(tiny_config(), tiny_config(), LAYERS, [2, 1], "shared")
    assert lines(found, "doubt") == ["layer map: not ascending, 1<-2 2<-1"]


def test_a_tokenizer_with_more_pieces_than_embeddings_is_wrong(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    assert vocabulary_fits(tokenizer, tiny_config(), "here") == []
    (found,) = vocabulary_fits(tokenizer, tiny_config(vocab_size=10), "here")
    assert found.line.startswith("here: the tokenizer is not this model's, got pieces up to")
