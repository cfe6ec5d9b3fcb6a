"""Hidden words and swapped sentences: what becomes of a batch, and what is learnt from it."""

import copy

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM

from tests.fixtures.models import tiny_config, tiny_encoder, tiny_tokenizer
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.pretraining import Pretraining, swap_seconds
from tinybert.distillation.teacher import Teacher
from tinybert.encoders.student import make_student
from tinybert.runtime.errors import InputError
from tinybert.settings.systems import Shape, TeacherLayers

CLS, SEP, PAD = 2, 3, 0
SHAPE = Shape(
    num_hidden_layers=2, hidden_size=24, intermediate_size=48, num_attention_heads=4, dropout=0.0
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def pairs_of(*parts: tuple[list[int], list[int], int]) -> dict[str, torch.Tensor]:
    """Return a batch of `[CLS] first [SEP] second [SEP]` rows of one length."""
    rows = [[CLS, *a, SEP, *b, SEP] if b else [CLS, *a, SEP] for a, b, _ in parts]
    firsts = torch.tensor([len(a) + 2 for a, _, _ in parts])
    ids = torch.tensor(rows)
    places = torch.arange(ids.shape[1])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids).bool(),
        "token_type_ids": (places >= firsts[:, None]).long(),
        "second": torch.tensor([second for _, _, second in parts]).to(torch.int8),
    }


BATCH = pairs_of(
    ([10, 11], [20, 21, 22, 23], 1),
    ([12, 13, 14, 15], [24, 25], 1),
    ([16, 17, 18], [26, 27, 28], 0),
    ([30, 31, 32, 33, 34, 35, 36], [], -1),
)


def segments(batch, row) -> tuple[list[int], list[int]]:
    """Return the tokens of both segments, special ones left out."""
    real = batch["input_ids"][row][batch["attention_mask"][row]].tolist()
    types = batch["token_type_ids"][row][batch["attention_mask"][row]].tolist()
    first = [t for t, kind in zip(real, types, strict=True) if kind == 0]
    second = [t for t, kind in zip(real, types, strict=True) if kind == 1]
    assert real[0] == CLS and real[-1] == SEP
    return [t for t in first if t not in (CLS, SEP)], [t for t in second if t not in (CLS, SEP)]


def test_swapped_rows_keep_their_first_segment_and_have_anothers_second_one():
    seconds = [segments(BATCH, row)[1] for row in range(4)]
    times_swapped = 0
    for seed in range(50):
        torch.manual_seed(seed)
        found = swap_seconds(BATCH, SEP, PAD)
        for row in range(4):
            first, second = segments(found, row)
            assert first == segments(BATCH, row)[0]
            if second == seconds[row]:
                assert found["follows"][row] == BATCH["second"][row]
                continue
            times_swapped += 1
            assert found["follows"][row] == 0
            # The front of some other row's second segment: cut where the row is too short for it.
            assert any(second == other[: len(second)] for other in seconds if other)
    # Three rows in 50 batches, each with probability 1/2: 75 expected, deviation 6.
    assert 50 < times_swapped < 100


def test_a_row_of_one_segment_stays_as_it_is():
    for seed in range(10):
        torch.manual_seed(seed)
        found = swap_seconds(BATCH, SEP, PAD)
        assert torch.equal(found["input_ids"][3], BATCH["input_ids"][3])
        assert found["follows"][3] == -1


def test_a_batch_with_one_pair_cannot_be_swapped():
    alone = {name: value[[0, 3]] for name, value in BATCH.items()}
    for seed in range(10):
        torch.manual_seed(seed)
        found = swap_seconds(alone, SEP, PAD)
        assert torch.equal(found["input_ids"], alone["input_ids"])
        assert found["follows"].tolist() == [1, -1]


def test_the_head_is_no_part_of_the_student_and_shares_its_word_embeddings(tokenizer):
    student = tiny_encoder()
    names = set(student.state_dict())
    pretraining = Pretraining(student, tokenizer, ["mlm", "next_sentence"])
    model = Distillation(student, {"mlm": 1.0, "next_sentence": 1.0}, pretraining=pretraining)
    model(**BATCH)["loss"].backward()
    assert set(student.state_dict()) == names
    num_words = student.get_input_embeddings().weight.shape[0]
    assert not [p for p in pretraining.parameters() if p.shape == (num_words, 24)]
    # A word that is in no row gets its gradient through the head alone.
    unused = [n for n in range(5, num_words) if n not in BATCH["input_ids"]]
    assert student.get_input_embeddings().weight.grad[unused].abs().sum() > 0
    assert student.pooler.dense.weight.grad.abs().sum() > 0  # by next_sentence


def masked_teacher() -> BertForMaskedLM:
    torch.manual_seed(1)
    return BertForMaskedLM(tiny_config(initializer_range=0.3)).eval()


@pytest.mark.parametrize("places", ["masked", "all"])
def test_a_student_of_all_the_teachers_layers_with_its_head_finds_what_it_finds(tokenizer, places):
    teacher = masked_teacher()
    student = make_student(SHAPE, TeacherLayers(teacher_layers=[1, 2]), teacher.base_model, 0)
    weights = {"mlm_kl": 5.0, "mlm": 2.0, "cosine": 1.0}
    made = Pretraining(student, tokenizer, weights, teacher, 2.0, places)
    made.words.start_from(teacher)
    frozen = Teacher(copy.deepcopy(teacher.base_model))
    model = Distillation(student, weights, frozen, [1, 2], "identity", pretraining=made).eval()
    torch.manual_seed(0)
    found = model(**BATCH)
    assert found["loss/mlm_kl"].item() == pytest.approx(0, abs=1e-5)
    assert found["loss/cosine"].item() == pytest.approx(0, abs=1e-5)
    # The gold term is the teacher's own loss on the same hidden words.
    torch.manual_seed(0)
    batch = made.hide(BATCH)
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask", "token_type_ids")}
    logits = teacher(**inputs).logits[batch["hidden_places"]]
    words = BATCH["input_ids"][batch["hidden_places"]]
    expected = torch.nn.functional.cross_entropy(logits, words).item()
    assert found["loss/mlm"].item() == pytest.approx(expected, rel=1e-5)
    assert found["loss"].item() == pytest.approx(2 * expected, rel=1e-4)


def test_the_teacher_gets_no_gradient(tokenizer):
    teacher, student = masked_teacher(), tiny_encoder()
    made = Pretraining(student, tokenizer, ["mlm_kl"], teacher)
    model = Distillation(student, {"mlm_kl": 1.0}, Teacher(teacher.base_model), pretraining=made)
    model(**BATCH)["loss"].backward()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert not any("teacher" in name for name in model.state_dict())


def test_parts_of_a_batch_are_weighed_by_their_hidden_places(tokenizer):
    student = tiny_encoder()
    made = Pretraining(student, tokenizer, ["mlm", "next_sentence"])
    torch.manual_seed(0)
    batch = made.hide(BATCH)
    counts = made.counts(batch, torch.tensor([1, 1, 0, 1]))
    places = batch["hidden_places"]
    assert counts["mlm"] == places[[0, 1, 3]].sum()
    assert counts["next_sentence"] == 2  # row 3 counts nothing, row 4 has no second segment


def test_next_sentence_needs_a_pooler(tokenizer):
    with pytest.raises(InputError, match="next_sentence needs a pooler, got architecture bert"):
        student = tiny_encoder()
        student.pooler = None
        Pretraining(student, tokenizer, ["next_sentence"])


def test_soft_words_need_a_teacher_with_a_head(tokenizer):
    with pytest.raises(InputError, match="mlm_kl needs a teacher with a head over words, got bert"):
        Pretraining(tiny_encoder(), tokenizer, ["mlm_kl"], tiny_encoder())


def test_training_lowers_every_term_of_words(tokenizer):
    teacher = masked_teacher()
    torch.manual_seed(0)
    student = tiny_encoder(seed=3)
    weights = {"mlm": 1.0, "mlm_kl": 1.0, "cosine": 1.0}
    made = Pretraining(student, tokenizer, weights, teacher)
    model = Distillation(
        student, weights, Teacher(teacher.base_model), [1, 2], "identity", pretraining=made
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(80):
        optimizer.zero_grad()
        terms = model(**BATCH)
        terms["loss"].backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in terms.items()})
    for name in history[0]:
        early = np.mean([row[name] for row in history[:20]])
        late = np.mean([row[name] for row in history[-20:]])
        assert late < early, name
