"""A student of each kind loads with plain transformers, by the lines of its card, and answers."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from transformers import pipeline

from tests.fixtures.kinds import LABELS, TEXTS, encoding_of, frame_of, info_of, model_of
from tests.fixtures.measured import facts
from tests.fixtures.models import tiny_tokenizer
from tinybert.deployment.hub import check_folder
from tinybert.encoders.checkpoints import load_classifier
from tinybert.evaluation.decision import Decision, saved_decision
from tinybert.evaluation.prediction import predict_logits, task_split
from tinybert.reports.model_card import CARD, copy_with_card, render
from tinybert.reports.results import TaskScores
from tinybert.runtime.errors import InputError
from tinybert.settings.heads import hub_task
from tinybert.settings.reader import read_json
from tinybert.tasks.entities import to_spans
from tinybert.tasks.task import METRICS
from tinybert.tasks.task_file import TaskFile

THRESHOLDS = Decision(thresholds=(0.05, 0.3, 0.8))
COLUMNS = {"sentence1": "text", "sentence2": "passage", "label": "label"}


def facts_of(kind, folder: Path | None = None, **changes: Any):
    info = info_of(kind)
    columns = {k: v for k, v in COLUMNS.items() if info.pair or k != "sentence2"}
    values = {"files": {"train": "x.csv"}, "kind": kind, "columns": columns, "max_length": 32}
    config = read_json(folder / "config.json", dict[str, Any], "") if folder else {}
    scores = dict.fromkeys(METRICS[kind], 0.5)
    parts = {"joy": {"precision": 0.5, "recall": 1.0, "f1": 0.667, "support": 1234.0}}
    found = {
        "info": info,
        "task_file": TaskFile.model_validate(values | changes),
        "config": {"model_type": "bert", "num_hidden_layers": 2} | config,
        "scores": TaskScores(
            main_metric=info.metrics[0], metrics={"dev": scores}, parts={"dev": parts}
        ),
    }
    return facts(**found)


@pytest.fixture(scope="module")
def students(tmp_path_factory) -> dict[str, Path]:
    """Students as the stages save them, with their cards, by kind."""
    place = tmp_path_factory.mktemp("students")
    for kind in LABELS:
        model, source = model_of(kind, seed=1), place / "source" / kind
        if kind == "multilabel":
            THRESHOLDS.put_into(model.config, info_of(kind))
        if kind == "span":
            Decision(null_threshold=0.25).put_into(model.config, info_of(kind))
        model.save_pretrained(source)
        tiny_tokenizer(source).save_pretrained(source)
        copy_with_card(source, facts_of(kind, source), place / kind)
    return {kind: place / kind for kind in LABELS}


def ours(kind, folder: Path, texts: list[str]):
    """Return our predictions of texts that need no cut, and the split."""
    info, encoding = info_of(kind, len(texts)), encoding_of(kind, max_length=32)
    split = task_split(frame_of(kind, texts), tiny_tokenizer(folder), encoding, info)
    model = load_classifier(folder)
    logits = predict_logits(model, split.rows, None)
    return split, split.predictions(logits, saved_decision(model.config, info, "student"))


def pipe(kind, folder: Path, **options: Any):
    return pipeline(hub_task(kind), model=str(folder), tokenizer=str(folder), **options)


def test_a_label_and_a_value(students, tmp_path):
    _, predicted = ours("classification", students["classification"], TEXTS)
    found = pipe("classification", students["classification"])(TEXTS)
    names = LABELS["classification"]
    assert [each["label"] for each in found] == [names[number] for number in predicted]
    _, values = ours("regression", students["regression"], TEXTS)
    found = pipe("regression", students["regression"])(TEXTS)
    np.testing.assert_allclose([each["score"] for each in found], values, atol=1e-5)


def test_several_labels_by_the_saved_thresholds(students):
    _, predicted = ours("multilabel", students["multilabel"], TEXTS)
    model = pipe("multilabel", students["multilabel"], top_k=None)
    thresholds = model.model.config.thresholds
    found = [
        {each["label"] for each in row if each["score"] > thresholds[each["label"]]}
        for row in model(TEXTS)
    ]
    assert found == [{LABELS["multilabel"][n] for n in row} for row in predicted]
    assert len({len(row) for row in found}) > 1


def test_entities_by_first_pieces(students):
    split, predicted = ours("tokens", students["tokens"], TEXTS)
    found = pipe("tokens", students["tokens"], aggregation_strategy="first")(TEXTS)
    frame = split.frame
    rows = zip(TEXTS, frame["word_starts"], frame["word_ends"], predicted, strict=True)
    expected = [
        [
            (span["start"], span["end"], span["label"])
            for span in to_spans(text, starts, ends, [LABELS["tokens"][n] for n in tags])
        ]
        for text, starts, ends, tags in rows
    ]
    assert [[(e["start"], e["end"], e["entity_group"]) for e in row] for row in found] == expected
    assert sum(map(len, expected)) > 5


def run_card(folder: Path, text: str, *changes: tuple[str, str]) -> str:
    """Run the lines of a card on a text; return what they print."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / CARD).read_text(), re.DOTALL)
    for old, new in [('folder = "."', f"folder = {str(folder)!r}"), *changes]:
        assert old in code
        code = code.replace(old, new)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code.replace('"a text"', repr(text)), {})
    return printed.getvalue().strip()


def test_the_lines_of_the_card_give_our_predictions(students):
    for text in TEXTS[:3]:
        _, (label,) = ours("classification", students["classification"], [text])
        assert run_card(students["classification"], text) == LABELS["classification"][label]
        _, (value,) = ours("regression", students["regression"], [text])
        assert float(run_card(students["regression"], text)) == pytest.approx(value, abs=1e-5)
        _, (several,) = ours("multilabel", students["multilabel"], [text])
        assert run_card(students["multilabel"], text) == str(
            [LABELS["multilabel"][n] for n in several]
        )
    assert "'entity_group': 'animal'" in run_card(students["tokens"], TEXTS[1])


@pytest.mark.parametrize("kind", list(LABELS))
def test_the_folder_for_the_hub_is_checked_by_its_kind(students, kind, tmp_path):
    check_folder(students[kind])
    data = ModelCard.load(students[kind] / CARD).data
    assert data.pipeline_tag == hub_task(kind)
    assert {each.task_type for each in data.eval_results} == {hub_task(kind)}
    text = (students[kind] / CARD).read_text()
    wrong = "text-classification" if kind in ("tokens", "span") else "token-classification"
    (tmp_path / "copy").mkdir()
    for file in students[kind].iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    tag = f"pipeline_tag: {hub_task(kind)}"
    (tmp_path / "copy" / CARD).write_text(text.replace(tag, f"pipeline_tag: {wrong}", 1))
    with pytest.raises(InputError, match=f"must be {hub_task(kind)}, .* got {wrong}; run"):
        check_folder(tmp_path / "copy")


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("tokens", ["f1", "precision"]),
        ("span", ["squad"]),
        ("multilabel", ["f1"]),
    ],
)
def test_metrics_have_the_hubs_names(kind, types):
    data = ModelCard(render(facts_of(kind))).data
    assert data.metrics == types
    found = {each.metric_name: each.metric_args for each in data.eval_results}
    assert set(found) == set(METRICS[kind])
    if kind == "multilabel":
        assert found["f1_micro"] == {"average": "micro"}
        assert found["f1_macro"] == {"average": "macro"} and found["accuracy"] is None


def test_the_card_lists_thresholds_and_parts(students):
    text = (students["multilabel"] / CARD).read_text()
    assert "`joy` 0.050, `anger` 0.300, `fear` 0.800" in text
    assert "| dev | joy | precision 50.0, recall 100.0, f1 66.7 | 1,234 |" in text
    assert "of the types `animal`, `place`" in (students["tokens"] / CARD).read_text()
    span = (students["span"] / CARD).read_text()
    assert "by more than 0.250" in span and "type: squad_v2" in span


@pytest.mark.parametrize(
    ("kind", "long", "line"),
    [
        ("tokens", None, "return_overflowing_tokens=True, stride=8`, for entities by the"),
        ("multilabel", "windows", "(a text's logits are the windows', mean)"),
        ("multilabel", "head_tail", "the first quarter and the last three are read"),
        ("classification", None, "Texts are cut at 32 tokens"),
        ("span", None, "the best answer of all; the least null score"),
    ],
)
def test_the_card_says_what_of_a_long_text_is_read(kind, long, line):
    changes = {} if long is None else {"long": long}
    assert line in render(facts_of(kind, **changes))
