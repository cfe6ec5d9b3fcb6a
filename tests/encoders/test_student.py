"""Students have the paper's sizes, the teacher's vocabulary and the first weights asked for."""

import copy

import pytest
import torch
from transformers import AutoModel, BertConfig, ElectraModel

from tests.fixtures.models import save_pretrained, tiny_batch, tiny_config, tiny_encoder
from tests.fixtures.refused import refused
from tests.fixtures.workspace import ROOT
from tinybert.encoders.cost import num_parameters
from tinybert.encoders.student import make_student, student_config
from tinybert.runtime.errors import InputError
from tinybert.settings.layer_map import teacher_layers
from tinybert.settings.reader import parse, read_yaml
from tinybert.settings.systems import Checkpoint, Shape, SystemFile, TeacherLayers

BERT_BASE = BertConfig()


def system(name: str) -> SystemFile:
    file = ROOT / f"params/systems/{name}.yaml"
    return parse(SystemFile, read_yaml(file), str(file))


@pytest.mark.parametrize(
    ("name", "layers"), [("tinybert4", [3, 6, 9, 12]), ("tinybert6", [2, 4, 6, 8, 10, 12])]
)
def test_the_papers_systems_have_the_papers_maps(name, layers):
    file = system(name)
    assert teacher_layers(file.layer_map, file.shape.num_hidden_layers, 12) == layers


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("tinybert4", 14.35),  # method.md's figures, with the pooler
        ("tinybert6", 66.96),
        ("bert_base", 109.48),
        ("bert_tiny", 14.35),
        ("bert_small", 28.76),
        ("pkd4", 52.78),
        ("pkd6", 66.96),
        ("pd", 66.96),
        ("distilbert4", 52.19),  # published 52.2, without pooler and token types
        ("distilbert6", 66.36),  # distilbert-base-uncased has 66,362,880
        ("mobilebert_tiny", 15.75),  # 15.5M without the pooler's 512 x 513
    ],
)
def test_every_system_of_the_table_has_its_published_size(name, millions):
    with torch.device("meta"):
        model = AutoModel.from_config(student_config(system(name).shape, BERT_BASE))
    assert round(num_parameters(model) / 1e6, 2) == millions


@pytest.mark.parametrize("num_layers", [2, 1])
def test_a_distilbert_of_the_teachers_layers_computes_what_they_compute(num_layers):
    teacher = tiny_encoder(initializer_range=0.5).eval()
    torch.nn.init.zeros_(teacher.embeddings.token_type_embeddings.weight)  # DistilBERT has none
    shape = SHAPE.model_copy(
        update={"architecture": "distilbert", "num_hidden_layers": num_layers, "dropout": 0.0}
    )
    layers = [1, 2] if num_layers == 2 else [2]
    student = make_student(shape, TeacherLayers(teacher_layers=layers), teacher, 0).eval()
    kept = torch.nn.ModuleList(teacher.encoder.layer[layer - 1] for layer in layers)
    teacher.encoder.layer, teacher.config.num_hidden_layers = kept, num_layers
    inputs = {key: tiny_batch()[key] for key in ("input_ids", "attention_mask")}
    mask = inputs["attention_mask"].bool()
    torch.testing.assert_close(
        student(**inputs).last_hidden_state[mask], teacher(**inputs).last_hidden_state[mask]
    )


def test_only_mobilebert_has_a_bottleneck_and_it_must():
    sizes = SHAPE.model_dump(exclude={"architecture", "bottleneck"})
    inside = {"embedding_size": 8, "bottleneck_size": 8, "num_feedforward_networks": 2}
    with pytest.raises(InputError, match="got mobilebert and no bottleneck"):
        parse(Shape, sizes | {"architecture": "mobilebert"}, "shape")
    with pytest.raises(InputError, match="got bert and a bottleneck"):
        parse(Shape, sizes | {"bottleneck": inside}, "shape")
    with pytest.raises(InputError, match="bottleneck_size must be a multiple of num_attention"):
        wrong = inside | {"bottleneck_size": 9}
        parse(Shape, sizes | {"architecture": "mobilebert", "bottleneck": wrong}, "shape")


def test_a_factorised_embedding_is_electras_and_costs_its_rank():
    sizes = SHAPE.model_dump(exclude={"architecture", "embedding_size"})
    with pytest.raises(InputError, match="architecture electra, and no other, has one"):
        parse(Shape, sizes | {"embedding_size": 16}, "shape")
    with pytest.raises(InputError, match="got electra and None; write `architecture"):
        parse(Shape, sizes | {"architecture": "electra"}, "shape")
    teacher = BertConfig(vocab_size=1000)
    count = {}
    for rank in (3, 5):
        shape = parse(Shape, sizes | {"architecture": "electra", "embedding_size": rank}, "shape")
        count[rank] = num_parameters(ElectraModel(student_config(shape, teacher)))
    tables = 1000 + 512 + 2
    # Two more columns of the tables, of gain and bias, and of the map to the layers' width.
    assert count[5] - count[3] == 2 * (tables + 2 + SHAPE.hidden_size)


def test_the_demos_two_systems_and_tinyberts_are_one_network_but_for_dropout():
    fitted = system("closed_form_mini").shape
    assert fitted == system("tinybert_mini").shape
    assert fitted == system("scratch_mini").shape.model_copy(update={"dropout": fitted.dropout})


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
    folder = save_pretrained(tmp_path / "c")
    with pytest.raises(InputError, match="got num_hidden_layers 2; the system's shape says 1"):
        make_student(SHAPE, Checkpoint(checkpoint=str(folder)), tiny_encoder(), 0)


def test_a_width_that_heads_do_not_divide_is_refused():
    line = refused(parse, Shape, {**SHAPE.model_dump(), "hidden_size": 25}, "s.yaml: shape")
    assert "must be a multiple of num_attention_heads, got 25 and 4" in line
