"""The closed form solves what it says, on what the student itself computes."""

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    ErnieConfig,
    ErnieForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    NystromformerConfig,
    NystromformerModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from tests.fixtures.models import (
    VOCABULARY,
    WORDS,
    tiny_classifier,
    tiny_config,
    tiny_distilbert,
    tiny_tokenizer,
)
from tests.fixtures.teachers import save_teacher
from tinybert.closed_form import signals as closed_form_signals
from tinybert.closed_form.equations import (
    principal_basis,
    random_rotation,
    score_directions,
    value_directions,
)
from tinybert.closed_form.fit import EncoderFit
from tinybert.closed_form.head import fit_head, head_targets, head_targets_of
from tinybert.closed_form.moments import CoordinateMoments, Moments
from tinybert.closed_form.parts import embedding_tables, layers_of
from tinybert.closed_form.start import choose_rows, fit_student, fitted_student, require_tokens
from tinybert.distillation.projections import Projections
from tinybert.encoders.checkpoints import load_encoder
from tinybert.encoders.signals import read_signals
from tinybert.evaluation.prediction import predict_logits
from tinybert.runtime.errors import InputError
from tinybert.text.batching import collate
from tinybert.text.encoded import EncodedRows

CPU = torch.device("cpu")
LONGER = {"max_position_embeddings": 80}
KINDS = {"longformer": {"attention_window": [32, 32]}}
SOME_TEXTS = [" ".join(WORDS[n : n + 9]) for n in range(30)]
PAIR = ("a cat", "a dog")
SMALL = {"hidden_size": 12, "num_hidden_layers": 1, "intermediate_size": 24}


def some_rows(count: int = 60, seed: int = 0) -> EncodedRows:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 30, count)
    ids = rng.integers(5, len(VOCABULARY), int(lengths.sum())).astype(np.int32)
    return EncodedRows(ids, np.cumsum(lengths), (lengths // 2).astype(np.int32), {})


def sharp(model):
    """Give a random model weights that make its attention and neurons matter."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(8)
    return model.eval()


def small_student(num_labels: int = 2, **changes) -> BertForSequenceClassification:
    return tiny_classifier(num_labels, seed=1, **{**SMALL, **changes}).eval()


def factorised_student(rank: int, num_labels: int = 3) -> ElectraForSequenceClassification:
    torch.manual_seed(1)
    changes = {"model_type": "electra", "embedding_size": rank}
    config = tiny_config(num_labels=num_labels, **SMALL).to_dict() | changes
    config = ElectraConfig(**config)
    return ElectraForSequenceClassification(config).eval()


def fitted(teacher, rows=None, seed=0, **changes):
    student = small_student(teacher.config.num_labels, **changes)
    fit = fit_student(student, teacher, rows or some_rows(), [2], seed)
    return student, fit


def test_ridge_is_the_solution_of_the_augmented_least_squares_problem():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)) + 3, rng.normal(size=(50, 2))
    moments = Moments(4, 2, CPU)
    for part in (slice(0, 20), slice(20, 50)):
        moments.add(torch.tensor(x[part]), torch.tensor(y[part]))
    found = moments.ridge(0.1, "a map")
    centred, wanted = x - x.mean(0), y - y.mean(0)
    strength = 0.1 * np.square(centred).sum(0).mean()
    # Ridge is plain least squares with further rows: sqrt(lambda) 1 for x, 0 for y.
    stacked = np.vstack([centred, np.sqrt(strength) * np.eye(4)])
    expected = np.linalg.lstsq(stacked, np.vstack([wanted, np.zeros((4, 2))]), rcond=None)[0]
    np.testing.assert_allclose(found.weight.mT, expected, atol=1e-10)
    residual = y - x @ expected - found.bias.numpy()
    share = np.square(residual).sum() / np.square(wanted).sum()
    assert found.unexplained == pytest.approx(share, abs=1e-10)
    np.testing.assert_allclose(residual.mean(0), 0, atol=1e-10)


def test_a_gain_and_bias_that_were_put_in_are_found_again():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    gain, bias = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.0, 1.0, -3.0])
    moments = CoordinateMoments(3, CPU)
    moments.add(x, x * gain + bias)
    found = moments.fit("a norm")
    torch.testing.assert_close(found.weight.float(), gain)
    torch.testing.assert_close(found.bias.float(), bias)
    assert found.unexplained == pytest.approx(0, abs=1e-6)


def test_a_constant_coordinate_is_refused_with_its_number():
    x = torch.randn(40, 3)
    x[:, 1] = 0.25
    moments = CoordinateMoments(3, CPU)
    moments.add(x, x)
    with pytest.raises(InputError, match=r"layer 1, output: .* got coordinate 1 constant; give"):
        moments.fit("layer 1, output")


def test_a_random_rotation_keeps_lengths():
    rotation = random_rotation(7, torch.Generator().manual_seed(3))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(7, dtype=torch.float64))


def test_the_basis_keeps_the_largest_eigenvalues():
    covariance = torch.diag(torch.tensor([5.0, 1.0, 3.0, 0.5], dtype=torch.float64))
    basis = principal_basis(covariance, 2, torch.Generator().manual_seed(0))
    # The two leading directions are the first and third coordinate, 8 of 9.5 of the variance.
    assert float((basis.mT @ covariance @ basis).trace()) == pytest.approx(8.0)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(2, dtype=torch.float64))


def test_no_random_directions_approximate_scores_better():
    generator = torch.Generator().manual_seed(0)
    of = {"dtype": torch.float64, "generator": generator}
    q, k = torch.randn(400, 6, **of) @ torch.randn(6, 6, **of), torch.randn(300, 6, **of)
    A, A_k = score_directions(q.mT @ q / 400, k.mT @ k / 300, 3)
    best = (q @ k.mT - (q @ A) @ (k @ A_k).mT).square().mean()
    full, full_k = score_directions(q.mT @ q / 400, k.mT @ k / 300, 6)
    torch.testing.assert_close((q @ full) @ (k @ full_k).mT, q @ k.mT)
    for _ in range(20):
        other = A + 0.1 * torch.randn(A.shape, **of)
        assert (q @ k.mT - (q @ other) @ (k @ A_k).mT).square().mean() > best


def test_values_keep_what_reaches_the_output():
    generator = torch.Generator().manual_seed(0)
    of = {"dtype": torch.float64, "generator": generator}
    v, W_o = torch.randn(200, 4, **of), torch.randn(4, 9, **of)
    W_o[2:] = 0  # two of four values reach nothing
    A = value_directions(v.mT @ v / 200, W_o, 2)
    found = torch.linalg.lstsq(v @ A, v @ W_o).solution
    torch.testing.assert_close(v @ A @ found, v @ W_o)


def test_reduced_queries_and_keys_give_the_teachers_scores_where_the_width_suffices():
    teacher, student = sharp(tiny_classifier()), small_student()
    query = teacher.bert.encoder.layer[1].attention.self.query
    with torch.no_grad():  # heads are 6 wide, the student's 3: half of each head is nothing
        for rows in (query.weight.view(4, 6, 24), query.bias.view(4, 6)):
            rows[:, 3:] = 0
    targets = EncoderFit(student, teacher, some_rows(), [2], 0).targets
    reduced = [targets.spool.get(0, f"{name} 2").view(-1, 4, 3) for name in ("query", "key")]
    with torch.no_grad():
        (found, *_) = closed_form_signals.teacher_passes(teacher, some_rows(), [2])
    whole = [found.parts[f"{name} 2"][found.mask].view(-1, 4, 6) for name in ("query", "key")]
    ours = torch.einsum("qhd,khd->hqk", *reduced) / 3**0.5
    theirs = torch.einsum("qhd,khd->hqk", *whole) / 6**0.5
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("embedding_size", [None, 6])
def test_the_fit_computes_what_the_student_does(embedding_size):
    teacher, rows = sharp(tiny_classifier(3)), some_rows()
    student = small_student(3) if embedding_size is None else factorised_student(embedding_size)
    fit = EncoderFit(student, teacher, rows, [2], 0)
    fit.run()
    with torch.no_grad():
        for number in range(fit.targets.num_batches):
            ids, types, mask = (fit.targets.spool.get(number, n) for n in ("ids", "types", "mask"))
            states = student.base_model(ids, attention_mask=mask, token_type_ids=types)
            kept = fit.targets.spool.get(number, "s")
            torch.testing.assert_close(states.last_hidden_state[mask], kept, atol=1e-4, rtol=1e-4)


def test_neither_padding_nor_the_size_of_batches_changes_the_fit(monkeypatch):
    teacher = sharp(tiny_classifier())
    together, _ = fitted(teacher)
    monkeypatch.setattr(closed_form_signals, "BATCH_TOKENS", 40)  # hardly any padding
    apart, _ = fitted(teacher)
    for ours, theirs in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_the_same_seed_gives_the_same_student_and_another_seed_another():
    teacher = sharp(tiny_classifier())
    first, again, other = (fitted(teacher, seed=seed)[0] for seed in (0, 0, 1))
    weight = first.bert.embeddings.word_embeddings.weight
    assert torch.equal(weight, again.bert.embeddings.word_embeddings.weight)
    assert not torch.allclose(weight, other.bert.embeddings.word_embeddings.weight)


TEACHERS = {
    "bert": lambda **of: tiny_classifier(3),
    "roberta": lambda **of: RobertaForSequenceClassification(RobertaConfig(**of)),
    "electra": lambda **of: ElectraForSequenceClassification(
        ElectraConfig(**of, embedding_size=16)
    ),
    "distilbert": lambda **of: DistilBertForSequenceClassification(tiny_distilbert(num_labels=3)),
    "mpnet": lambda **of: MPNetForSequenceClassification(MPNetConfig(**of)),
    "deberta-v2": lambda **of: DebertaV2ForSequenceClassification(deberta(**of)),
    "deberta-v2, narrow tables": lambda **of: DebertaV2ForSequenceClassification(
        deberta(**of, embedding_size=16)
    ),
}


def deberta(**of) -> DebertaV2Config:
    """Return a configuration as DeBERTa-v3's: positions enter in the layers alone."""
    kinds = {"pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm", "share_att_key": True}
    kinds |= {"relative_attention": True, "position_buckets": 8, "position_biased_input": False}
    return DebertaV2Config(**of, **kinds, type_vocab_size=0)


def teacher_of(kind: str):
    config = tiny_config(num_labels=3).to_dict()
    sizes = {key: config[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers")}
    sizes |= {"num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 70}
    return sharp(TEACHERS[kind](**sizes, num_labels=3, pad_token_id=0))


@pytest.mark.parametrize("kind", TEACHERS)
def test_what_a_head_is_fitted_to_may_come_from_states_of_a_pass_made_before(kind):
    teacher, rows = teacher_of(kind), some_rows(30)
    first = []
    with torch.no_grad():
        for row in rows:
            states = read_signals(teacher, collate([row], 0), hidden=True).hidden
            first.append(states[teacher.config.num_hidden_layers][0, 0])
    found = head_targets_of(
        teacher, rows, torch.stack(first), torch.from_numpy(predict_logits(teacher, rows, None))
    )
    expected = head_targets(teacher, rows)
    torch.testing.assert_close(found.pooled, expected.pooled, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", TEACHERS)
def test_a_student_of_any_bert_like_teacher_is_nearer_to_it_than_a_random_one(kind):
    torch.manual_seed(0)
    teacher = teacher_of(kind)
    rows, unseen = some_rows(200), some_rows(40, seed=1)
    student, fit = fitted(teacher, rows)
    gold = predict_logits(teacher, unseen, None)
    error = np.square(predict_logits(student, unseen, None) - gold).mean()
    random = np.square(predict_logits(small_student(3), unseen, None) - gold).mean()
    assert error < random
    assert error < np.square(gold - gold.mean(0)).mean()  # better than knowing the mean
    assert all(0 <= each.unexplained <= 1 for each in fit.maps)


@pytest.mark.parametrize("paired", [False, True])
def test_texts_and_a_shape_give_a_student_with_the_teachers_vocabulary_and_labels(paired, tmp_path):
    names = {0: "bad", 1: "good", 2: "neither"}
    teacher = sharp(tiny_classifier(3, id2label=names, label2id={v: k for k, v in names.items()}))
    tokenizer, rng = tiny_tokenizer(tmp_path / "tokenizer"), np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 9)) for _ in range(120)]
    given = list(zip(texts, reversed(texts), strict=True)) if paired else texts
    shape = BertConfig(**SMALL, num_attention_heads=4, max_position_embeddings=50)
    student, fit = fitted_student(teacher, tokenizer, shape, given)
    assert student.config.id2label == names
    assert student.config.vocab_size == len(tokenizer)
    assert student.config.hidden_size == 12
    assert fit.num_tokens == 120 * (9 * (1 + paired) + 2 + paired)
    student.save_pretrained(tmp_path / "student")
    again = BertForSequenceClassification.from_pretrained(tmp_path / "student")
    rows = some_rows(20)
    np.testing.assert_array_equal(
        predict_logits(again, rows, None), predict_logits(student, rows, None)
    )
    bare, fit = fitted_student(teacher.bert, tokenizer, shape, given)
    assert type(bare).__name__ == "BertModel"
    assert fit.head is None


def test_a_student_has_no_more_positions_than_its_teacher(tmp_path):
    teacher, tokenizer = tiny_classifier(), tiny_tokenizer(tmp_path)
    shape = BertConfig(**SMALL, num_attention_heads=4)  # of 512
    student, _ = fitted_student(teacher, tokenizer, shape, SOME_TEXTS)
    assert student.config.max_position_embeddings == teacher.config.max_position_embeddings
    longer = BertForSequenceClassification(BertConfig(**{**student.config.to_dict(), **LONGER}))
    fit_student(longer, teacher, some_rows(60), [2], 0)  # as of another teacher's general phase
    places = longer.bert.embeddings.position_embeddings.weight
    assert places[:64].any() and not places[64:].any()


@pytest.mark.parametrize("kind", ["ibert", "longformer"])
def test_a_teacher_whose_maps_are_no_plain_ones_of_tokens_is_refused(tmp_path, kind):
    teacher = load_encoder(save_teacher(tmp_path, kind, **KINDS.get(kind, {})))
    with pytest.raises(InputError, match=f"must be built like BERT .* got {kind}"):
        layers_of(teacher)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "more tokens than columns are needed, got 0"),
        ("the cat", r"texts: must be a list, got one text; write \[text\]"),
        (["the cat", PAIR], r"texts\[1\]: must be .* got pair where texts\[0\] is text"),
        ([PAIR, ("a", "b", "c")], r"texts\[1\]: .* got tuple where texts\[0\] is pair"),
        ([None], r"texts\[0\]: must be a text or a pair of texts, .* got NoneType"),
        (SOME_TEXTS[:1] * 30, "pooled: the inputs must vary, got the same one 30 times; give more"),
    ],
)
def test_texts_that_nothing_can_be_fitted_to_are_refused(tmp_path, texts, message):
    shape = BertConfig(**SMALL, num_attention_heads=4)
    with pytest.raises(InputError, match=message):
        fitted_student(sharp(tiny_classifier()), tiny_tokenizer(tmp_path), shape, texts)


def test_a_tokenizer_that_is_not_the_teachers_is_refused(tmp_path):
    teacher = sharp(tiny_classifier())
    more = [f"word{number}" for number in range(teacher.config.vocab_size)]
    tokenizer = tiny_tokenizer(tmp_path, [*tiny_tokenizer(tmp_path).get_vocab(), *more])
    shape = BertConfig(**SMALL, num_attention_heads=4)
    with pytest.raises(InputError, match="closed form: tokenizer: the tokenizer is not this model"):
        fitted_student(teacher, tokenizer, shape, [" ".join(more)])


def test_a_choice_that_stops_too_early_is_named_where_more_texts_cannot_help():
    with pytest.raises(InputError, match="got 600 for 768 feed-forward neurons; raise closed_form"):
        require_tokens(600, 768, max_tokens=590)
    with pytest.raises(InputError, match="got 600 for 768 feed-forward neurons; give more texts"):
        require_tokens(600, 768, max_tokens=32_000)


def test_a_teacher_with_a_weight_that_is_no_number_is_refused_by_its_name(tmp_path):
    teacher, shape = tiny_classifier(), BertConfig(**SMALL, num_attention_heads=4)
    with torch.no_grad():
        teacher.classifier.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"teacher: .* not finite, .*classifier.weight"):
        fitted_student(teacher, tiny_tokenizer(tmp_path), shape, SOME_TEXTS)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float64])
def test_a_teacher_of_any_precision_gives_a_student_that_answers_at_once(tmp_path, precision):
    teacher, tokenizer = sharp(tiny_classifier()).to(precision), tiny_tokenizer(tmp_path)
    shape = BertConfig(**SMALL, num_attention_heads=4, type_vocab_size=1, dtype=precision)
    student, _ = fitted_student(teacher, tokenizer, shape, SOME_TEXTS)
    assert (teacher.dtype, student.dtype) == (precision, torch.float32)
    batch = tokenizer(*PAIR, return_tensors="pt")
    with torch.no_grad():  # no dropout
        torch.testing.assert_close(student(**batch).logits, student(**batch).logits)


def test_positions_of_roberta_begin_after_the_padding_tokens():
    config = RobertaConfig(vocab_size=50, hidden_size=24, num_attention_heads=4, pad_token_id=1)
    teacher = RobertaForSequenceClassification(config)
    rows = teacher.roberta.embeddings.position_embeddings.weight
    assert torch.equal(embedding_tables(teacher).position, rows[2:])  # a text's first is number 2


def test_positions_of_nystromformer_begin_where_its_ids_do():
    config = NystromformerConfig(vocab_size=50, hidden_size=24, num_attention_heads=4)
    model = NystromformerModel(config)
    table = model.embeddings
    first = int(table.position_ids[0, 0])
    assert torch.equal(embedding_tables(model).position, table.position_embeddings.weight[first:])


def test_a_teacher_of_four_token_types_and_a_task_is_fitted():
    torch.manual_seed(0)
    sizes = tiny_config(num_labels=2).to_dict() | {"model_type": "ernie"}
    plain, tasked = (
        sharp(ErnieForSequenceClassification(ErnieConfig(**sizes | {"type_vocab_size": 4} | of)))
        for of in ({}, {"use_task_id": True})
    )
    tables, teacher = embedding_tables(tasked), tasked.ernie.embeddings
    added = tables.word[7] + tables.position[0] + tables.token_type[1]
    given = {"input_ids": torch.tensor([[7]]), "token_type_ids": torch.tensor([[1]])}
    found = teacher.LayerNorm(added)
    torch.testing.assert_close(teacher(**given)[0, 0], found)
    student, _ = fitted(plain)
    types = student.bert.embeddings.token_type_embeddings.weight
    assert not torch.allclose(types[0], types[1])


def test_the_fit_reads_debertas_maps_of_tokens_and_starts_without_positions():
    torch.manual_seed(0)
    sizes = {"vocab_size": len(VOCABULARY), "hidden_size": 24, "num_hidden_layers": 2}
    config = deberta(**sizes, num_attention_heads=4, intermediate_size=48)
    teacher = sharp(DebertaV2ForSequenceClassification(config))
    for found in closed_form_signals.teacher_passes(teacher, some_rows(6), [2]):
        key = teacher.deberta.encoder.layer[1].attention.self.key_proj(found.hidden[1])
        torch.testing.assert_close(found.parts["key 2"], key)
    student, _ = fitted(teacher)
    assert not student.bert.embeddings.position_embeddings.weight.any()
    assert not student.bert.embeddings.token_type_embeddings.weight.any()


def test_a_student_with_room_for_everything_explains_its_queries():
    teacher = sharp(tiny_classifier(hidden_size=24))
    student = small_student(hidden_size=24, num_hidden_layers=1, intermediate_size=48)
    fit = fit_student(student, teacher, some_rows(200), [1], 0)
    shares = {each.map: each.unexplained for each in fit.maps if each.layer == 1}
    assert max(shares["query"], shares["key"], shares["value"]) < 0.05


def test_projections_bring_the_students_states_to_the_teachers_width():
    teacher = sharp(tiny_classifier())
    student, projections = small_student(), Projections(1, 12, 24, "per_layer")
    fit = EncoderFit(student, teacher, some_rows(), [2], 0, projections)
    fit.run()
    of = [fit.targets.spool.get(0, name) for name in ("s", "state 2")]
    left = (projections.hidden(1, of[0]) - of[1]).square().mean()
    assert float(left) < float(of[1].square().mean())


def test_a_factorised_embedding_keeps_more_the_wider_it_is_and_gives_the_teachers_answers():
    teacher, rows, unseen = sharp(tiny_classifier(3)), some_rows(200), some_rows(40, seed=1)
    gold = predict_logits(teacher, unseen, None)
    shares, errors = {}, {}
    for rank in (2, 6, 11):
        student = factorised_student(rank)
        fit = fit_student(student, teacher, rows, [2], 0)
        shares[rank] = {of.map: of.unexplained for of in fit.maps}
        errors[rank] = np.square(predict_logits(student.eval(), unseen, None) - gold).mean()
    assert shares[2]["embeddings widened"] > shares[6]["embeddings widened"] + 0.05
    assert shares[6]["embeddings widened"] > shares[11]["embeddings widened"] + 0.05
    assert errors[11] < np.square(gold - gold.mean(0)).mean()


def test_factorised_tables_keep_what_varies_most_in_the_embeddings():
    teacher, student = sharp(tiny_classifier(3)), factorised_student(4)
    targets = EncoderFit(student, teacher, some_rows(), [2], 0).targets
    states = targets.spool.get(0, "state 0").double()
    covariance = (states - states.mean(0)).mT @ (states - states.mean(0)) / len(states)
    kept = (targets.embedding_basis.mT @ covariance @ targets.embedding_basis).trace()
    assert float(kept) == pytest.approx(float(torch.linalg.eigvalsh(covariance)[-4:].sum()))


def test_the_head_of_a_factorised_student_loses_no_more_than_berts():
    teacher, rows = sharp(tiny_classifier(3)), some_rows(400)
    of = {}
    for student in (small_student(3), factorised_student(12)):  # as wide as the layers: no map
        fit = fit_student(student, teacher, rows, [2], 0)
        of[student.config.model_type] = {each.map: each.unexplained for each in fit.maps}
    assert "embeddings widened" not in of["electra"]
    assert of["electra"]["pooled"] == pytest.approx(of["bert"]["pooled"], abs=1e-3)
    assert of["electra"]["logits"] == pytest.approx(of["bert"]["logits"], abs=0.02)


def test_heads_that_are_left_out_are_told():
    teacher = sharp(tiny_classifier())
    _, fit = fitted(teacher, num_attention_heads=2)
    (lost,) = [each.unexplained for each in fit.maps if each.map == "heads left out"]
    assert 0 < lost < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 28}, "shape: hidden_size must be at most the teacher's 24, got 28"),
        ({"intermediate_size": 64}, "intermediate_size must be at most the teacher's 48, got 64"),
        ({"num_attention_heads": 6}, "num_attention_heads must be at most the teacher's 4, got 6"),
        ({"num_attention_heads": 1}, "hidden_size / num_attention_heads .* 6, got 12"),
    ],
)
def test_a_student_larger_than_its_teacher_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        fitted(tiny_classifier(), **changes)


def test_a_width_that_heads_do_not_divide_is_refused(tmp_path):
    shape = BertConfig(**SMALL, num_attention_heads=5)
    with pytest.raises(InputError, match="must be a multiple of num_attention_heads, got 12 and 5"):
        fitted_student(tiny_classifier(), tiny_tokenizer(tmp_path), shape, SOME_TEXTS)


def test_a_head_is_fitted_again_to_layers_that_moved_without_the_teacher():
    student, fit = fitted(sharp(tiny_classifier(3, seed=0)), some_rows(200))
    before = {name: of.clone() for name, of in student.state_dict().items()}
    with torch.no_grad():
        student.classifier.weight.zero_()
        student.bert.pooler.dense.weight.zero_()
    shares = fit_head(student, fit.head, seed=0)
    for name, of in student.state_dict().items():
        torch.testing.assert_close(of, before[name], msg=name)
    assert shares == [of for of in fit.maps if of.map in ("pooled", "logits")]
    with torch.no_grad():  # a last LayerNorm with its signs turned gives the mirrored states
        norm = student.bert.encoder.layer[0].output.LayerNorm
        norm.weight.neg_()
        norm.bias.neg_()
    moved = fit_head(student, fit.head, seed=0)
    assert [of.unexplained for of in moved] == pytest.approx(
        [of.unexplained for of in shares], abs=1e-6
    )


def test_fewer_tokens_than_neurons_are_refused_with_the_number_needed():
    with pytest.raises(InputError, match=r"got 2. for 24 feed-forward neurons; give more texts"):
        fitted(tiny_classifier(), choose_rows(some_rows(), 20, 0).part(0, 1))


def test_a_larger_choice_of_rows_keeps_those_of_a_smaller_one():
    rows = some_rows()
    few, many = choose_rows(rows, 100, 0), choose_rows(rows, 400, 0)
    assert 100 <= few.lengths.sum() < many.lengths.sum()
    texts = [{tuple(each[i]["ids"]) for i in range(len(each))} for each in (few, many)]
    assert texts[0] <= texts[1]
