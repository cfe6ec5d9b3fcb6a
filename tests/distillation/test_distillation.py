"""The engine: what is matched with what, and where gradients go."""

import copy

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from tests.fixtures.models import tiny_batch, tiny_classifier, tiny_distilbert, tiny_encoder
from tests.fixtures.plain_attention import attention_scores, plain_attention_loss
from tests.fixtures.training import rows_of
from tinybert.distillation.distillation import Distillation, phase_weights
from tinybert.distillation.losses import attention_loss, hidden_loss
from tinybert.distillation.projections import Projections
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.terms import layer_terms
from tinybert.encoders.signals import compile_layers, read_signals, record_attention
from tinybert.runtime.errors import InputError
from tinybert.settings.choices import Loss
from tinybert.settings.layer_map import teacher_layers
from tinybert.text.batching import TokenBatches, collate

LAYER_WEIGHTS = {"attention": 1.0, "hidden": 1.0, "embedding": 1.0}


def layers_of_two(student=None, weights=LAYER_WEIGHTS, **options) -> Distillation:
    """Match both layers of a tiny student and a tiny teacher."""
    teacher = Teacher(tiny_encoder(seed=1))
    return Distillation(student or tiny_encoder(), weights, teacher, [1, 2], **options)


def student_of_layers(teacher: BertModel, layers: list[int]) -> BertModel:
    """Copy the teacher, keeping the given layers (from 1)."""
    student = copy.deepcopy(teacher)
    kept = [student.encoder.layer[layer - 1] for layer in layers]
    student.encoder.layer = torch.nn.ModuleList(kept)
    student.config.num_hidden_layers = len(layers)
    return student


def first_layers_alike(teacher: BertModel) -> BertModel:
    """Make layers 1, 2 and 4, 5 of six identities, so that layers 3 and 6 alone change anything.

    A student of the layers 3m has then the teacher's own states at 3 and 6.
    """
    for number in (0, 1, 3, 4):
        layer = teacher.encoder.layer[number]
        for linear in (layer.attention.output.dense, layer.output.dense):
            torch.nn.init.zeros_(linear.weight)
            torch.nn.init.zeros_(linear.bias)
    return teacher


def test_a_student_of_the_teachers_mapped_layers_has_no_loss_and_a_shifted_map_has():
    teacher = first_layers_alike(tiny_encoder(num_hidden_layers=6, initializer_range=0.5)).eval()
    student = student_of_layers(teacher, [3, 6]).eval()
    layers = teacher_layers("uniform", 2, 6)
    model = Distillation(student, LAYER_WEIGHTS, Teacher(teacher), layers, "identity").eval()
    # LayerNorm of a normalised vector changes it by its epsilon only.
    assert model(**tiny_batch())["loss"].item() < 1e-6
    shifted = Distillation(student, LAYER_WEIGHTS, Teacher(teacher), [2, 5], "identity").eval()
    assert shifted(**tiny_batch())["loss"].item() > 1e-2


def test_a_student_of_the_teachers_layers_matches_its_cls_states_and_directions():
    teacher = first_layers_alike(tiny_encoder(num_hidden_layers=6, initializer_range=0.5)).eval()
    student = student_of_layers(teacher, [3, 6]).eval()
    weights = {"patient": 1.0, "cosine": 1.0, "attention_probs": 1.0}

    def terms(layers):
        model = Distillation(student, weights, Teacher(teacher), layers).eval()
        assert model.projections is None
        with torch.no_grad():
            return {name: float(value) for name, value in model(**tiny_batch()).items()}

    matched, shifted = terms([3, 6]), terms([2, 5])
    assert matched["loss/patient"] < 1e-7 < shifted["loss/patient"]
    assert matched["loss/cosine"] < 1e-5 < shifted["loss/cosine"]
    # Cross-entropy: least, and the teacher's own entropy, where both attend alike.
    assert matched["loss/attention_probs"] < shifted["loss/attention_probs"]


def test_patience_leaves_the_last_layer_out_and_averages_the_others():
    # PKD-skip: of three layers the first two learn, so another last state changes nothing.
    teacher, student = tiny_encoder(num_hidden_layers=6).eval(), tiny_encoder(num_hidden_layers=3)
    model = Distillation(student.eval(), {"patient": 1.0}, Teacher(teacher), [2, 4, 6])
    batch = tiny_batch()
    before = model(**batch)["loss"].item()
    states = read_signals(student, batch, hidden=True).hidden
    theirs = read_signals(teacher, batch, hidden=True).hidden
    by_hand = []
    for ours, layer in ((1, 2), (2, 4)):
        s, t = states[ours][:, 0], theirs[layer][:, 0]
        s, t = s / s.norm(dim=1, keepdim=True), t / t.norm(dim=1, keepdim=True)
        by_hand.append(float((s - t).square().mean()))
    assert before == pytest.approx(sum(by_hand) / 2, rel=1e-5)
    torch.nn.init.normal_(student.encoder.layer[2].output.dense.weight)
    assert model(**batch)["loss"].item() == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("terms", [{"patient"}, {"cosine"}, {"attention_probs"}])
def test_other_systems_terms_reach_the_student_and_never_the_teacher(terms):
    teacher, student = tiny_encoder(seed=1), tiny_encoder(seed=2)
    model = Distillation(student, dict.fromkeys(terms, 1.0), Teacher(teacher), [1, 2])
    model(**tiny_batch())["loss"].backward()
    assert student.encoder.layer[0].attention.self.query.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in teacher.parameters())


def test_means_over_heads_let_other_numbers_of_heads_learn():
    teacher, student = tiny_encoder(), tiny_encoder(num_attention_heads=2)
    with pytest.raises(InputError, match="num_attention_heads"):
        Distillation(student, {"attention_probs": 1.0}, Teacher(teacher), [1, 2])
    model = Distillation(
        student, {"attention_probs": 1.0}, Teacher(teacher), [1, 2], average_heads=True
    )
    model(**tiny_batch())["loss"].backward()
    assert student.encoder.layer[1].attention.self.key.weight.grad.abs().sum() > 0
    with pytest.raises(InputError, match="num_attention_heads"):
        both = {"attention": 1.0, "attention_probs": 1.0}
        Distillation(student, both, Teacher(teacher), [1, 2], average_heads=True)


def test_terms_without_projection_need_the_teachers_width_and_patience_two_layers():
    teacher = Teacher(tiny_encoder())
    with pytest.raises(InputError, match="cosine and patient need the teacher's width 24, got 16"):
        Distillation(tiny_encoder(hidden_size=16), {"cosine": 1.0}, teacher, [1, 2])
    with pytest.raises(InputError, match="patient matches all layers but the last, got a student"):
        Distillation(tiny_encoder(num_hidden_layers=1), {"patient": 1.0}, teacher, [2])


def test_soft_labels_of_a_regression_are_its_scores():
    student = tiny_classifier(num_labels=1).eval()
    batch = tiny_batch() | {"teacher_logits": torch.tensor([[2.0], [-1.0]])}
    model = Distillation(student, {"kl": 1.0}, temperature=5.0, kind="regression")
    with torch.no_grad():
        logits = student(**tiny_batch()).logits[:, 0]
        expected = ((logits[0] - 2) ** 2 + (logits[1] + 1) ** 2) / 2
        assert model(**batch)["loss/kl"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_queries_and_keys_are_the_ones_the_model_attends_with():
    model = tiny_encoder(num_hidden_layers=2).eval()
    record_attention(model)
    signals = read_signals(model, tiny_batch(), attention=[1, 2])
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("eager")
    batch = tiny_batch()
    with torch.no_grad():
        expected = plain(**batch, output_attentions=True).attentions
    unmasked = torch.where(batch["attention_mask"][:, None, None, :], 0.0, float("-inf"))
    for layer in (1, 2):
        probs = torch.softmax(attention_scores(signals.attention[layer]) + unmasked, dim=-1)
        torch.testing.assert_close(probs, expected[layer - 1], rtol=1e-4, atol=1e-6)


def test_recording_does_not_change_what_the_model_computes():
    model, batch = tiny_encoder().eval(), tiny_batch()
    with torch.no_grad():
        before = model(**batch).last_hidden_state
        record_attention(model)
        after = model(**batch).last_hidden_state
    torch.testing.assert_close(before, after)


def test_gradients_reach_student_and_projections_and_never_the_teacher():
    teacher = tiny_encoder(seed=1, hidden_size=32)
    model = Distillation(tiny_encoder(), LAYER_WEIGHTS, Teacher(teacher), [1, 2])
    model(**tiny_batch())["loss"].backward()
    assert model.projections is not None
    assert all(weight.grad is not None for weight in model.projections.parameters())
    layer = model.student.encoder.layer[1]
    assert layer.attention.self.query.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in teacher.parameters())


def test_the_teacher_has_no_dropout_and_is_no_part_of_what_is_saved():
    teacher = tiny_encoder(seed=1, hidden_dropout_prob=0.5).train()
    model = Distillation(tiny_encoder(), LAYER_WEIGHTS, Teacher(teacher), [1, 2]).train()
    assert not teacher.training
    own = {id(weight) for weight in model.parameters()}
    assert not any(id(weight) in own for weight in teacher.parameters())
    first = Teacher(teacher).signals(tiny_batch(), hidden=True).hidden[2]
    second = Teacher(teacher).signals(tiny_batch(), hidden=True).hidden[2]
    assert torch.equal(first, second)


def test_padding_a_batch_changes_no_term():
    model = layers_of_two().eval()
    batch = tiny_batch()
    wider = {key: torch.nn.functional.pad(value, (0, 5)) for key, value in batch.items()}
    narrow, wide = model(**batch), model(**wider)
    for name, value in narrow.items():
        assert wide[name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_the_loss_is_the_weighted_sum_of_its_terms():
    weights = {"attention": 0.5, "hidden": 2.0, "embedding": 3.0}
    model = layers_of_two(weights=weights).eval()
    terms = model(**tiny_batch())
    expected = sum(weight * terms[f"loss/{name}"].item() for name, weight in weights.items())
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_terms_are_summed_over_layers():
    teacher, student = tiny_encoder(seed=1), tiny_encoder()
    both = Distillation(student, {"attention": 1.0}, Teacher(teacher), [1, 2]).eval()
    signals_S = read_signals(student, tiny_batch(), attention=[1, 2])
    signals_T = read_signals(teacher, tiny_batch(), attention=[1, 2])
    mask = tiny_batch()["attention_mask"]
    expected = sum(
        plain_attention_loss(signals_S.attention[m], signals_T.attention[m], mask).item()
        for m in (1, 2)
    )
    assert both(**tiny_batch())["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_a_term_of_weight_zero_is_not_computed_so_heads_may_differ():
    loss = Loss(attn_weight=0.0, hidden_weight=1.0, embedding_weight=1.0)
    weights = phase_weights(["attention", "hidden", "embedding"], loss)
    model = layers_of_two(tiny_encoder(num_attention_heads=2), weights)
    assert "loss/attention" not in model(**tiny_batch())


def test_different_head_counts_are_refused_when_attention_is_matched():
    with pytest.raises(InputError, match="teacher's 4 heads, got 2"):
        layers_of_two(tiny_encoder(num_attention_heads=2))


def test_identity_projections_need_equal_widths():
    with pytest.raises(InputError, match="got student 24 and teacher 32"):
        Projections(2, 24, 32, "identity")


@pytest.mark.parametrize(("kind", "num_matrices"), [("per_layer", 3), ("shared", 1)])
def test_there_is_one_projection_per_layer_or_one_for_all(kind, num_matrices):
    projections = Projections(3, 4, 6, kind)
    assert len(list(projections.hidden_projection.parameters())) == num_matrices
    states = torch.randn(1, 2, 4)
    same = torch.equal(projections.hidden(1, states), projections.hidden(3, states))
    assert same == (kind == "shared")


def test_projections_go_on_from_a_file_only_if_it_fits(tmp_path):
    saved = Projections(2, 4, 6, "per_layer")
    saved.save(tmp_path / "p.safetensors")
    fitting, other = Projections(2, 4, 6, "per_layer"), Projections(2, 4, 8, "per_layer")
    assert fitting.load(tmp_path / "p.safetensors")
    assert torch.equal(fitting.embedding_projection.weight, saved.embedding_projection.weight)
    assert not other.load(tmp_path / "p.safetensors")
    assert not fitting.load(tmp_path / "absent.safetensors")


def test_stored_teacher_logits_stand_for_the_teachers_pass():
    teacher, student = tiny_classifier(seed=1), tiny_classifier()
    batch = tiny_batch()
    live = Distillation(student, {"prediction": 1.0}, Teacher(teacher)).eval()
    logits = Teacher(teacher).signals(batch).logits
    stored = Distillation(student, {"prediction": 1.0}).eval()
    expected = live(**batch)["loss"].item()
    assert stored(**batch, teacher_logits=logits)["loss"].item() == pytest.approx(expected)


def test_regression_matches_the_teachers_score():
    student = tiny_classifier(num_labels=1).eval()
    model = Distillation(student, {"prediction": 1.0}, kind="regression").eval()
    own = read_signals(student, tiny_batch()).logits
    # A teacher 2 higher everywhere: squared error 4.
    loss = model(**tiny_batch(), teacher_logits=own.detach() + 2)["loss"]
    assert loss.item() == pytest.approx(4.0, rel=1e-5)


def test_the_label_term_is_ordinary_fine_tuning():
    student = tiny_classifier(num_labels=3).eval()
    batch, labels = tiny_batch(), torch.tensor([2, 0])
    expected = student(**batch, labels=labels).loss.item()
    loss = Distillation(student, {"label": 1.0}).eval()(**batch, labels=labels)["loss"]
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_an_architecture_outside_the_attention_interface_is_refused():
    config = MPNetConfig(vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=4)
    with pytest.raises((InputError, ValueError)):
        record_attention(MPNetModel(config))


def test_a_bert_config_keeps_no_trace_of_the_recording_attention(tmp_path):
    student = tiny_encoder()
    record_attention(student)
    student.save_pretrained(tmp_path)
    assert "recording" not in (tmp_path / "config.json").read_text()
    assert isinstance(BertModel.from_pretrained(tmp_path).config, BertConfig)


def test_compiled_layers_are_asked_of_student_and_teacher_and_found_in_other_architectures():
    teacher, student = tiny_encoder(seed=1), tiny_encoder()
    Distillation(student, LAYER_WEIGHTS, Teacher(teacher), [1, 2]).compile_layers()
    sizes = {"vocab_size": 50, "hidden_size": 24, "num_attention_heads": 4}
    roberta = RobertaModel(RobertaConfig(**sizes, num_hidden_layers=2))
    distilbert = DistilBertModel(tiny_distilbert())
    for model in (roberta, distilbert):
        compile_layers(model)
    layers = [*teacher.encoder.layer, *student.encoder.layer, *roberta.encoder.layer]
    layers += list(distilbert.transformer.layer)
    assert len(layers) == 8
    assert all(layer._compiled_call_impl is not None for layer in layers)
    assert student.embeddings._compiled_call_impl is None


@pytest.mark.slow
def test_compiled_layers_give_the_same_terms_and_gradients():
    def made() -> Distillation:
        torch.manual_seed(5)
        teacher = tiny_encoder(seed=1, hidden_size=32)
        return Distillation(tiny_encoder(), LAYER_WEIGHTS, Teacher(teacher), [1, 2]).eval()

    plain, compiled = made(), made()
    compiled.projections.load_state_dict(plain.projections.state_dict())
    compiled.compile_layers()
    expected, found = plain(**tiny_batch()), compiled(**tiny_batch())
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4), name
    expected["loss"].backward()
    found["loss"].backward()
    for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def test_the_mean_over_an_epochs_batches_is_that_of_all_rows_at_once():
    # Batches by tokens have unequal numbers of rows, tokens and pairs: each counts by its share.
    rows = rows_of(37)
    model = layers_of_two().eval()
    labels = Distillation(tiny_classifier(), {"label": 1.0}).eval()
    batches = TokenBatches(rows.lengths, 8, seed=0)
    for distillation in (model, labels):
        whole = distillation(**collate([rows[number] for number in range(37)], 0))
        parts = [
            distillation(**collate([rows[number] for number in batch], 0, batches.per_batch))
            for batch in batches
        ]
        for name, value in whole.items():
            mean = sum(part[name].item() for part in parts) / len(parts)
            assert mean == pytest.approx(value.item(), rel=1e-4), name


@pytest.mark.parametrize("kind", ["per_layer", "shared", "identity"])
@pytest.mark.parametrize("alone", [True, False])
def test_layers_matched_at_once_have_the_sum_and_the_gradients_of_one_after_another(
    monkeypatch, kind, alone
):
    monkeypatch.setattr("tinybert.runtime.precision.reads_at_once", lambda device: alone)

    def matched(loss_of):
        model = layers_of_two(projection=kind).eval()
        signals = Teacher(tiny_encoder(seed=1))
        signals.record_attention()
        read = {"attention": [1, 2], "hidden": True}
        theirs = signals.signals(tiny_batch(), **read)
        ours = read_signals(model.student, tiny_batch(), **read)
        loss = loss_of(model, ours, theirs, tiny_batch()["attention_mask"])
        loss.backward()
        return loss, [w.grad for w in model.parameters() if w.grad is not None]

    def one_after_another(model, ours, theirs, mask):
        return sum(
            attention_loss(ours.attention[m], theirs.attention[m], mask)
            + hidden_loss(model.projections.hidden(m, ours.hidden[m]), theirs.hidden[m], mask)
            for m in (1, 2)
        )

    def at_once(model, ours, theirs, mask):
        terms = layer_terms(
            ["attention", "hidden"], ours, theirs, mask, [(1, 1), (2, 2)], False, model.projections
        )
        return terms["attention"] + terms["hidden"]

    torch.testing.assert_close(matched(at_once), matched(one_after_another), rtol=1e-4, atol=1e-6)
