"""Students have the paper's sizes, the teacher's vocabulary and the first weights asked for."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from tests.models import tiny_config, tiny_encoder
from tinybert.errors import InputError
from tinybert.layer_map import teacher_layers
from tinybert.settings import parse, read_yaml
from tinybert.student import Checkpoint, Shape, TeacherLayers, make_student, student_config
from tinybert.systems import SystemFile

ROOT = Path(__file__).parent.parent
BERT_BASE = BertConfig()


def system(name: str) -> SystemFile:
    file = ROOT / f"params/systems/{name}.yaml"
    return parse(SystemFile, read_yaml(file), str(file))


@pytest.mark.parametrize(
    ("name", "millions", "layers"),
    [
        ("tinybert4", 14.35, [3, 6, 9, 12]),  # method.md's figures, with the pooler
        ("tinybert6", 66.96, [2, 4, 6, 8, 10, 12]),
    ],
)
def test_the_papers_systems_have_the_papers_sizes_and_maps(name, millions, layers):
    file = system(name)
    with torch.device("meta"):
        model = BertModel(student_config(file.shape, BERT_BASE))
    count = sum(weight.numel() for weight in model.parameters())
    assert round(count / 1e6, 2) == millions
    assert teacher_layers(file.layer_map, file.shape.num_hidden_layers, 12) == layers


def test_the_demos_two_systems_are_the_same_network():
    assert system("tinybert_mini").shape == system("scratch_mini").shape


SHAPE = Shape(
    num_hidden_layers=1, hidden_size=24, intermediate_size=48, num_attention_heads=4, dropout=0.1
)


def test_a_random_student_repeats_with_its_seed_and_shares_the_vocabulary():
    teacher = tiny_encoder()
    first = make_student(SHAPE, "random", teacher, 3).state_dict()
    second = make_student(SHAPE, "random", teacher, 3).state_dict()
    other = make_student(SHAPE, "random", teacher, 4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert first["embeddings.word_embeddings.weight"].shape[0] == tiny_config().vocab_size


def test_a_student_of_teacher_layers_has_their_weights():
    teacher = tiny_encoder(num_hidden_layers=3)
    student = make_student(SHAPE, TeacherLayers(teacher_layers=[2]), teacher, 0)
    ours, theirs = student.encoder.layer[0], teacher.encoder.layer[1]
    assert torch.equal(ours.output.dense.weight, theirs.output.dense.weight)
    ids = copy.deepcopy(student.embeddings.word_embeddings.weight)
    assert torch.equal(ids, teacher.embeddings.word_embeddings.weight)


@pytest.mark.parametrize("layers", [[0], [4], [1, 2]])
def test_teacher_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(InputError, match="1 layers from 1 to 3 are needed"):
        make_student(
            SHAPE, TeacherLayers(teacher_layers=layers), tiny_encoder(num_hidden_layers=3), 0
        )


def test_teacher_layers_need_equal_widths():
    with pytest.raises(InputError, match="got bert 24 wide and bert 32 wide"):
        make_student(SHAPE, TeacherLayers(teacher_layers=[1]), tiny_encoder(hidden_size=32), 0)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    from tests.models import save_pretrained

    folder = save_pretrained(tmp_path / "c")
    with pytest.raises(InputError, match="got num_hidden_layers 2; the system's shape says 1"):
        make_student(SHAPE, Checkpoint(checkpoint=str(folder)), tiny_encoder(), 0)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(InputError) as caught:
        parse(Shape, {**SHAPE.model_dump(), "hidden_size": 25}, "s.yaml: shape")
    assert "must be a multiple of num_attention_heads, got 25 and 4" in str(caught.value)
