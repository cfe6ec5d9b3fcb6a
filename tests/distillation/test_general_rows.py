"""A general phase's rows: blocks as they are, or rows that two tokenizers read."""

import pytest
import torch

from tests.fixtures.models import tiny_classifier, tiny_encoder
from tests.fixtures.refused import refused
from tests.fixtures.tokenizers import TEXTS, tokenizer_of
from tests.fixtures.training import SCHEDULE, run_in
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.general_rows import general_rows, require_alignable
from tinybert.distillation.pretraining import Pretraining
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.together import Together
from tinybert.text.batching import collate
from tinybert.text.corpus import write_corpus
from tinybert.text.encoded import Blocks
from tinybert.training.training import train

OURS, THEIRS = tokenizer_of("wordpiece", 120), tokenizer_of("byte_level")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, shards = (tmp_path_factory.mktemp(name) for name in ("corpus", "shards"))
    write_corpus([TEXTS] * 8, THEIRS, 24, 0, folder, shards)
    return folder


def rows_of(corpus, weights, folder, ours=OURS):
    return general_rows(corpus, ours, THEIRS, dict.fromkeys(weights, 1.0), 0, folder)


def student(weights, teacher=None, pretraining=False):
    torch.manual_seed(2)
    encoder = tiny_encoder(seed=3, vocab_size=120)
    made = Pretraining(encoder, OURS, weights) if pretraining else None
    return Distillation(
        encoder, dict.fromkeys(weights, 1.0), teacher, [1, 2], pretraining=made
    ).eval()


def test_of_one_tokenizer_blocks_are_read_as_they_are(corpus, tmp_path):
    assert isinstance(rows_of(corpus, ["hidden"], tmp_path, THEIRS), Blocks)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (["mlm", "mlm_kl"], "mlm_kl compares probabilities of the same words"),
        (["mlm", "cosine"], "mlm change what the student reads"),
        (["mlm", "next_sentence", "hidden"], "mlm and next_sentence change what"),
    ],
)
def test_terms_that_need_one_vocabulary_are_refused(corpus, tmp_path, terms, said):
    assert said in refused(require_alignable, terms)
    assert said in refused(rows_of, corpus, terms, tmp_path)


def test_a_student_of_words_alone_reads_its_own_tokens(corpus, tmp_path):
    terms = ["mlm", "next_sentence"]
    rows = rows_of(corpus, terms, tmp_path)
    batch = collate([rows[n] for n in range(6)], OURS.pad_token_id)
    assert not [name for name in batch if name.startswith("teacher_")]
    assert int(batch["input_ids"].max()) < 120
    found = student(terms, pretraining=True)(**batch)
    assert {"loss/mlm", "loss/next_sentence"} <= found.keys()
    assert torch.isfinite(found["loss"])


def test_layers_are_matched_in_training_and_beside_other_students(corpus, tmp_path):
    teacher = Teacher(tiny_classifier(seed=1, vocab_size=340))
    terms = ["attention", "hidden", "embedding"]
    rows = rows_of(corpus, terms, tmp_path / "rows")
    model = student(terms, teacher)
    schedule = SCHEDULE.model_copy(update={"num_epochs": 2.0})
    history, _ = train(model, rows, 0, schedule, run_in(tmp_path))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    batch = collate([rows[n] for n in range(4)], 0)
    students = {"one": student(terms, teacher), "other": student(["hidden"], teacher)}
    together = Together(students).eval()(**batch)
    for name, each in students.items():
        assert together[f"{name} | loss"] == each(**batch)["loss"]
