"""The service answers texts of each kind of task as the evaluation does, long ones too."""

import json
import random
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.kinds import LABELS, TEXTS, encoding_of, frame_of, info_of, model_of
from tests.fixtures.models import WORDS, tiny_tokenizer
from tinybert.deployment import service
from tinybert.deployment.sections import FLOAT, INT8
from tinybert.deployment.service import Classifier, Reader, as_tags, entities_of, make_app
from tinybert.evaluation.decision import Decision
from tinybert.evaluation.prediction import TaskSplit, predict_logits, task_split
from tinybert.evaluation.probabilities import probabilities
from tinybert.tasks import entities, words
from tinybert.tasks.encoding import encode_split

LONG = [*TEXTS, " ".join(WORDS), " ".join(reversed(WORDS * 2)), "cat " * 14, "the (old) tree's."]
THRESHOLDS = {"joy": 0.3, "anger": 0.5, "fear": 0.8}
READS = ["cut", "head_tail", "windows"]


def make_folder(folder: Path, export, model, encoding, *, pair: bool = False, **config) -> Path:
    for key, value in config.items():
        setattr(model.config, key, value)
    model.save_pretrained(folder)
    tiny_tokenizer(folder).save_pretrained(folder)
    (folder / "onnx").mkdir()
    export(model, folder / FLOAT)
    (folder / INT8).write_bytes((folder / FLOAT).read_bytes())
    about = {"name": "tiny-mine", "pair": pair, **encoding._asdict()}
    (folder / "bundle.json").write_text(json.dumps(about))
    return folder


def split_of(folder: Path, kind, encoding, texts, seconds=None) -> TaskSplit:
    info = info_of(kind, len(texts), pair=seconds is not None)
    return task_split(frame_of(kind, texts, seconds), tiny_tokenizer(folder), encoding, info)


@pytest.fixture(scope="module")
def models() -> dict:
    return {kind: model_of(kind) for kind in LABELS}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, export_once, models) -> dict[str, Path]:
    """A bundle's folder by kind; its bundle.json is written again for each way to read."""
    place = tmp_path_factory.mktemp("bundles")
    return {
        kind: make_folder(
            place / kind,
            export_once,
            models[kind],
            encoding_of(kind),
            **({"thresholds": THRESHOLDS} if kind == "multilabel" else {}),
        )
        for kind in ("classification", "multilabel", "tokens")
    }


def asked(folder: Path, encoding, texts, *, pair=False, path="/classify", **options):
    about = {"name": "tiny-mine", "pair": pair, **encoding._asdict()}
    (folder / "bundle.json").write_text(json.dumps(about))
    with TestClient(make_app(Classifier(folder, **options))) as client:
        answer = client.post(path, json=texts)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("pool", ["mean", "max", "first"])
def test_several_labels_are_those_of_the_evaluation(exported, models, tmp_path, reads, pool):
    encoding = encoding_of("multilabel", long=reads, stride=5, pool=pool)
    split = split_of(tmp_path, "multilabel", encoding, LONG)
    logits = predict_logits(models["multilabel"], split.rows, None)
    expected = split.predictions(logits, Decision(thresholds=tuple(THRESHOLDS.values())))
    found = asked(exported["multilabel"], encoding, {"texts": LONG})
    names = LABELS["multilabel"]
    assert [each["labels"] for each in found] == [[names[n] for n in of] for of in expected]
    assert len({len(of) for of in expected}) > 1
    shares = [[each["probabilities"][name] for name in names] for each in found]
    np.testing.assert_allclose(shares, probabilities(split.row_logits(logits)), atol=1e-5)
    assert any("cut" in each for each in found) == (reads != "windows")


@pytest.mark.parametrize("reads", READS)
def test_one_label_of_a_long_text_is_that_of_the_evaluation(exported, models, tmp_path, reads):
    encoding = encoding_of("classification", long=reads, stride=4)
    split = split_of(tmp_path, "classification", encoding, LONG)
    expected = split.predictions(predict_logits(models["classification"], split.rows, None))
    found = asked(exported["classification"], encoding, {"texts": LONG})
    names = LABELS["classification"]
    assert [each["label"] for each in found] == [names[number] for number in expected]


def test_windows_of_pairs_are_those_of_the_evaluation(exported, models, tmp_path):
    encoding = encoding_of("classification", long="windows", stride=4)
    seconds = [*reversed(LONG)]
    split = split_of(tmp_path, "classification", encoding, LONG, seconds)
    logits = split.row_logits(predict_logits(models["classification"], split.rows, None))
    body = {"texts": LONG, "text_pairs": seconds}
    found = asked(exported["classification"], encoding, body, pair=True)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ours = [list(each["probabilities"].values()) for each in found]
    np.testing.assert_allclose(ours, shares, atol=1e-4)


@pytest.mark.parametrize("reads", ["cut", "windows"])
@pytest.mark.parametrize("stride", [0, 4, 8])
def test_entities_are_those_of_the_evaluation(exported, models, tmp_path, reads, stride):
    encoding = encoding_of("tokens", long=reads, stride=stride)
    split = split_of(tmp_path, "tokens", encoding, LONG)
    tags = split.predictions(predict_logits(models["tokens"], split.rows, None))
    found = asked(exported["tokens"], encoding, {"texts": LONG}, path="/tag")
    rows = zip(LONG, split.frame["word_starts"], split.frame["word_ends"], tags, strict=True)
    expected = [
        entities.to_spans(text, starts, ends, [LABELS["tokens"][number] for number in of])
        for text, starts, ends, of in rows
    ]
    scores = [entity.pop("score") for each in found for entity in each["entities"]]
    assert [each["entities"] for each in found] == expected
    assert sum(map(len, expected)) > 5 and all(0.2 < score <= 1 for score in scores)


def test_a_score_is_the_mean_of_its_words(exported, models, tmp_path):
    encoding = encoding_of("tokens")
    split = split_of(tmp_path, "tokens", encoding, TEXTS[1:2])
    logits = split.word_logits(predict_logits(models["tokens"], split.rows, None))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    (found,) = asked(exported["tokens"], encoding, {"texts": TEXTS[1:2]}, path="/tag")
    starts = split.frame["word_starts"][0]
    for entity in found["entities"]:
        inside = [n for n, at in enumerate(starts) if entity["start"] <= at < entity["end"]]
        assert entity["score"] == pytest.approx(shares.max(axis=1)[inside].mean(), abs=1e-4)


@given(st.text(max_size=40))
def test_words_are_cut_by_the_rule_of_the_training(text):
    expected = words.split_words(text)
    assert service.split_words(text) == list(zip(expected.starts, expected.ends, strict=True))


@given(st.text("三去 aก。", max_size=12), st.data(), st.sampled_from(["windows", "cut"]))
def test_words_inside_of_a_piece_are_those_of_the_evaluation(text, data, long):
    found = words.split_words(text)
    shown = np.array(data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found))))
    model = SimpleNamespace(reader=SimpleNamespace(long=long))
    places = list(zip(found.starts, found.ends, strict=True))
    ours = Classifier._inside_tokens(model, text, places, set(np.flatnonzero(shown).tolist()))
    expected = words.words_inside_pieces(*found, shown.astype(bool), long == "windows")
    assert list(ours) == expected.tolist()


def test_every_character_is_of_the_words_that_training_has():
    for first in range(0, 0x110000, 0x800):
        # Each is between letters, so that what parts words shows.
        text = "a".join(map(chr, range(first, first + 0x800)))
        expected = words.split_words(text)
        assert service.split_words(text) == list(zip(expected.starts, expected.ends, strict=True))
    assert unicodedata.category(chr(0x200D)) == "Cf"


def test_entities_of_any_tags_are_those_that_are_scored():
    tags, draw = ["O", "B-a", "I-a", "B-a-b", "I-a-b", "B-b"], random.Random(0)
    for _ in range(500):
        row = [draw.choice(tags) for _ in range(draw.randrange(9))]
        assert [tuple(each) for each in entities_of(row)] == entities.entities_of(row)


@pytest.mark.parametrize("labels", [LABELS["tokens"], ["O", "NOUN", "VERB"], ["NOUN", "VERB"]])
def test_tags_without_prefixes_are_entities_of_a_word(labels):
    assert as_tags(labels) == entities.entity_tags(labels)


@pytest.mark.parametrize("reads", READS)
def test_a_text_without_words_gets_an_answer(exported, reads):
    for kind, path in (("multilabel", "/classify"), ("tokens", "/tag")):
        encoding = encoding_of(kind, long="windows" if kind == "tokens" else reads)
        (found,) = asked(exported[kind], encoding, {"texts": [" "]}, path=path)
        assert found == {"entities": []} if kind == "tokens" else "labels" in found


def roberta_tokenizer(folder: Path):
    """A byte-level tokenizer, which counts a space to the piece behind it."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizerFast

    made = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made.train_from_iterator([" ".join(WORDS)] * 3, vocab_size=300, special_tokens=special)
    folder.mkdir(parents=True, exist_ok=True)
    made.save_model(str(folder))
    tokenizer = RobertaTokenizerFast.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("seconds", [None, [*reversed(LONG)]], ids=["single", "pair"])
@pytest.mark.parametrize("make", [tiny_tokenizer, roberta_tokenizer])
def test_tokens_are_those_that_training_has(tmp_path, make, seconds, reads):
    if seconds and reads == "head_tail":
        return  # no such task
    encoding = encoding_of("classification", max_length=15, long=reads, stride=3)
    tokenizer = make(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    rows = encode_split(frame_of("classification", LONG, seconds), tokenizer, encoding)
    reader = Reader(tmp_path / "tokenizer.json", encoding._asdict())
    found = reader.read(list(zip(LONG, seconds or [None] * len(LONG), strict=True)))
    ours = [window.ids for of in found for window in of]
    assert ours == [row["ids"].tolist() for row in (rows[n] for n in range(len(rows)))]
    assert max(map(len, ours)) == 15
    if rows.origins is not None:
        assert [n for n, of in enumerate(found) for _ in of] == rows.origins.tolist()


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_words_of_a_byte_level_tokenizer_are_read_at_their_first_pieces(tmp_path, stride):
    encoding = encoding_of("tokens", long="windows", stride=stride)
    tokenizer = roberta_tokenizer(tmp_path)
    frame = frame_of("tokens", LONG)
    rows = encode_split(frame, tokenizer, encoding)
    reader = Reader(tmp_path / "tokenizer.json", encoding._asdict())
    read, begin = {}, 0
    for number, (text, of) in enumerate(
        zip(LONG, reader.read([(text, None) for text in LONG]), strict=True)
    ):
        logits = [np.arange(begin_, begin_ + len(w.ids)) for begin_, w in begun(begin, of)]
        begin += sum(len(window.ids) for window in of)
        places = service.split_words(text)
        read |= {(number, word): at for word, at in service._word_logits(places, of, logits)}
    scored = np.flatnonzero(rows.places >= 0)
    texts = np.repeat(rows.origins, rows.lengths)[scored]
    expected = dict(zip(zip(texts, rows.places[scored], strict=True), scored, strict=True))
    assert read == expected


def begun(begin, windows):
    for window in windows:
        yield begin, window
        begin += len(window.ids)


@pytest.mark.parametrize("kind", ["multilabel", "tokens"])
def test_health_says_kind_and_path(exported, kind):
    with TestClient(make_app(Classifier(exported[kind]))) as client:
        found = client.get("/health").json()
        assert (found["kind"], found["labels"]) == (kind, LABELS[kind])
        assert found["path"] == ("/tag" if kind == "tokens" else "/classify")
        other = {"/classify", "/tag", "/answer"} - {found["path"]}
        for path in other:
            answer = client.post(path, json={"text": "a"})
            line = f"POST {path}: tiny-mine is of kind {kind}; ask POST {found['path']}"
            assert (answer.status_code, answer.json()) == (404, {"error": line})


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"text": "a", "text_pair": "b"}, 'takes single texts, got a pair; drop "text_pair"'),
        ({"question": "a", "context": "b"}, "question: Extra inputs are not permitted"),
        ([], 'no JSON object of content type application/json; right is {"text": "a sentence"}'),
        ({"texts": ["cat " * 9, "cat " * 5000]}, "must be at most 40 windows of 16 tokens, got"),
    ],
)
def test_what_cannot_be_tagged_gets_one_line(exported, monkeypatch, body, line):
    monkeypatch.setattr(service, "MOST_WAITING", 40)
    about = {"name": "tiny-mine", "pair": False, **encoding_of("tokens", long="windows")._asdict()}
    (exported["tokens"] / "bundle.json").write_text(json.dumps(about))
    with TestClient(make_app(Classifier(exported["tokens"]))) as client:
        answer = client.post("/tag", json=body)
        assert answer.status_code == (413 if "windows" in line else 422)
        assert line in answer.json()["error"] and "\n" not in answer.json()["error"]
        assert client.post("/tag", json={"text": "cat"}).status_code == 200


def test_a_text_that_is_not_read_to_its_end_is_refused_if_so_asked(exported):
    folder = exported["tokens"]
    for reads, status in (("cut", 422), ("windows", 200)):
        about = {"name": "tiny-mine", "pair": False, **encoding_of("tokens", long=reads)._asdict()}
        (folder / "bundle.json").write_text(json.dumps(about))
        with TestClient(make_app(Classifier(folder, long="refuse"))) as client:
            assert client.post("/tag", json={"text": "cat " * 40}).status_code == status
