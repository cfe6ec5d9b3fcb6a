"""The service answers as its model does, one or many at a time, and garbage with one line."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.fixtures.models import tiny_classifier, tiny_tokenizer
from tinybert.deployment import service
from tinybert.deployment.sections import FLOAT, INT8
from tinybert.deployment.service import Batcher, Classifier, Encoded, make_app
from tinybert.evaluation.prediction import predict_logits
from tinybert.tasks.task import Encoding
from tinybert.text.encoded import encode

TEXTS = ["the cat sat", "a big red dog ran and a bird flew over the tree", "mat"]


def make_folder(folder: Path, export, *, pair: bool = False, num_labels: int = 3, **config) -> Path:
    model = tiny_classifier(num_labels=num_labels, **config)
    model.save_pretrained(folder)
    tiny_tokenizer(folder).save_pretrained(folder)
    (folder / "onnx").mkdir()
    export(model, folder / FLOAT)
    (folder / INT8).write_bytes((folder / FLOAT).read_bytes())
    kind = config.get("problem_type", "classification")
    about = {"name": "tiny-mine", "pair": pair, **Encoding(kind, num_labels, 16)._asdict()}
    (folder / "bundle.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, export_once) -> Path:
    return make_folder(tmp_path_factory.mktemp("bundle"), export_once)


@pytest.fixture
def client(folder):
    with TestClient(make_app(Classifier(folder, num_threads=1))) as client:
        yield client


def test_probabilities_are_those_of_the_model(client, folder, tmp_path):
    rows = encode(tiny_tokenizer(tmp_path), TEXTS, None, 16)
    logits = predict_logits(tiny_classifier(num_labels=3), rows, None)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answers = client.post("/classify", json={"texts": TEXTS}).json()
    found = [list(each["probabilities"].values()) for each in answers]
    np.testing.assert_allclose(found, shares, atol=1e-5)
    for answer, share in zip(answers, shares, strict=True):
        assert answer["label"] == f"LABEL_{share.argmax()}"
        assert answer["probability"] == pytest.approx(share.max(), abs=1e-5)
        assert "cut" not in answer


def test_one_text_gets_one_answer_like_the_first_of_many(client):
    alone = client.post("/classify", json={"text": TEXTS[0]}).json()
    many = client.post("/classify", json={"texts": TEXTS}).json()
    assert alone["label"] == many[0]["label"]
    assert alone["probability"] == pytest.approx(many[0]["probability"], abs=1e-5)


def test_a_long_text_is_cut_and_said_so_or_refused(client, folder):
    long = " ".join(["cat"] * 40)
    assert client.post("/classify", json={"text": long}).json()["cut"] is True
    with TestClient(make_app(Classifier(folder, long="refuse"))) as strict:
        answer = strict.post("/classify", json={"texts": ["cat", long]})
        assert answer.status_code == 422
        assert answer.json()["error"].startswith("text 2 has more than 16 tokens")
        assert strict.post("/classify", json={"text": "cat"}).status_code == 200


def test_pairs(tmp_path, export_once):
    folder = make_folder(tmp_path / "bundle", export_once, pair=True)
    rows = encode(tiny_tokenizer(tmp_path), TEXTS[:1], TEXTS[1:2], 16)
    logits = predict_logits(tiny_classifier(num_labels=3), rows, None)[0]
    with TestClient(make_app(Classifier(folder))) as client:
        found = client.post("/classify", json={"text": TEXTS[0], "text_pair": TEXTS[1]}).json()
        shares = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(list(found["probabilities"].values()), shares, atol=1e-5)
        refused = client.post("/classify", json={"text": "cat"})
        assert (refused.status_code, "takes pairs" in refused.json()["error"]) == (422, True)


def test_values(tmp_path, export_once):
    folder = make_folder(tmp_path / "bundle", export_once, num_labels=1, problem_type="regression")
    rows = encode(tiny_tokenizer(tmp_path), TEXTS, None, 16)
    logits = predict_logits(tiny_classifier(num_labels=1), rows, None)
    with TestClient(make_app(Classifier(folder))) as client:
        found = client.post("/classify", json={"texts": TEXTS}).json()
        np.testing.assert_allclose([each["value"] for each in found], logits[:, 0], atol=1e-5)


GARBAGE = {
    b'{"text":': 400,
    b"\xff\xfe": 400,
    b"[]": 422,
    b"null": 422,
    b'"text"': 422,
    b"{}": 422,
    b'{"text": ""}': 422,
    b'{"texts": ["a", ""]}': 422,
    b'{"text": 3}': 422,
    b'{"text": "a", "texts": ["b"]}': 422,
    b'{"texts": []}': 422,
    b'{"texts": [null]}': 422,
    b'{"text": "a", "text_pair": "b"}': 422,
    b'{"texts": ["a", "b"], "text_pairs": ["c"]}': 422,
    b'{"text": "a", "unknown": 1}': 422,
    json.dumps({"texts": ["a"] * (service.MOST_TEXTS + 1)}).encode(): 422,
    b" " * (service.MOST_BYTES + 1): 413,
}


@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: body[:30].decode(errors="replace"))
def test_garbage_gets_one_line_and_the_service_goes_on(client, body):
    answer = client.post("/classify", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == GARBAGE[body]
    (key,) = answer.json()
    assert key == "error"
    assert "\n" not in answer.json()["error"] and len(answer.json()["error"]) < 300
    assert client.post("/classify", json={"text": "cat"}).status_code == 200


def test_other_addresses_get_one_line(client):
    assert client.get("/nothing").json() == {"error": "GET /nothing: Not Found"}
    assert client.get("/classify").status_code == 405


def test_health_says_what_is_served(client):
    found = client.get("/health").json()
    assert found["status"] == "ok"
    assert found["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert found["max_length"] == 16


def test_many_clients_at_once_get_their_own_answers(client):
    alone = {text: client.post("/classify", json={"text": text}).json() for text in TEXTS}
    with ThreadPoolExecutor(16) as pool:
        asked = TEXTS * 20
        found = list(pool.map(lambda t: client.post("/classify", json={"text": t}).json(), asked))
    for text, answer in zip(asked, found, strict=True):
        assert answer["probability"] == pytest.approx(alone[text]["probability"], abs=1e-5)


class Counting:
    """A model that notes its batches; the logit of a row is its first id."""

    def __init__(self, fails_at: int = -1) -> None:
        self.batches: list[int] = []
        self.fails_at = fails_at

    def logits(self, rows):
        self.batches.append(len(rows))
        if len(self.batches) - 1 == self.fails_at:
            raise RuntimeError("no such luck")
        return np.array([[row.ids[0]] for row in rows])


def row(first: int, length: int) -> Encoded:
    return Encoded([first] * length, [0] * length, False)


async def asked_together(model, requests, batch_tokens):
    batcher = Batcher(model, batch_tokens)
    task = asyncio.create_task(batcher.serve())
    found = await asyncio.gather(*map(batcher.ask, requests), return_exceptions=True)
    task.cancel()
    return found


def test_what_waits_is_answered_in_one_batch_up_to_its_tokens():
    model = Counting()
    requests = [[row(number, 10)] for number in range(9)]
    found = asyncio.run(asked_together(model, requests, 40))
    assert [int(each[0][0]) for each in found] == list(range(9))
    assert model.batches == [4, 4, 1]  # 4 rows of 10 tokens are 40


def test_a_row_longer_than_a_batch_goes_alone():
    model = Counting()
    asyncio.run(asked_together(model, [[row(1, 100)], [row(2, 3)]], 40))
    assert model.batches == [1, 1]


def test_a_batch_that_fails_fails_alone():
    model = Counting(fails_at=0)
    found = asyncio.run(asked_together(model, [[row(n, 10)] for n in range(8)], 40))
    assert [isinstance(each, RuntimeError) for each in found] == [True] * 4 + [False] * 4


def test_too_many_waiting_rows_are_refused(monkeypatch):
    monkeypatch.setattr(service, "MOST_WAITING", 2)
    found = asyncio.run(asked_together(Counting(), [[row(1, 1)] * 3], 40))
    assert [each.status for each in found] == [503]


def test_the_service_imports_neither_torch_nor_the_project():
    import subprocess

    code = (
        f"import sys; sys.path.insert(0, {str(Path(service.__file__).parent)!r}); import service; "
        "print([m for m in ('torch', 'transformers', 'tinybert', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
