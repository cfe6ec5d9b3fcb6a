"""Text in any script runs through every stage; what does not hold for a script is said once."""

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import augment, word_vectors
from stages.augment import describe_unspaced, find_doubts
from tests.fixtures.languages import (
    LANGUAGES,
    UNSPACED,
    rows_of,
    save_unigram,
    save_wordpiece,
)
from tests.fixtures.workspace import edit_section, edit_yaml, make_workspace, run_stage, write_yaml
from tinybert.doctor.unknown import judge
from tinybert.encoders.checkpoints import load_tokenizer
from tinybert.settings.reader import read_section
from tinybert.text.sections import WordVectorsSettings
from tinybert.text.word_vectors import load_vectors, nearest_words

SCRIPTS = ("ru", "ar", "th")
OPINIONS, NAMES, QUESTIONS = "opinions", "names", "questions"
TASKS = (OPINIONS, NAMES, QUESTIONS)
LABELS = {"good": "добре", "bad": "坏"}


def write_tasks(folder: Path) -> None:
    """Write a task of a class, one of tags and one of answers, each in three scripts."""
    rows = [row for triple in zip(*map(rows_of, SCRIPTS), strict=True) for row in triple]
    raw, tasks = folder / "data/raw/tasks", folder / "params/tasks"
    lines = [f'"{text}",{LABELS[label]}' for text, label, _ in rows]
    (raw / "opinions.csv").write_text("\n".join(["текст,оценка", *lines, ""]), encoding="utf-8-sig")
    columns = {"sentence1": "текст", "label": "оценка"}
    write_yaml(
        tasks / "opinions.yaml",
        {"files": {"train": "opinions.csv"}, "columns": columns, "max_length": 32},
    )
    spans = [
        {"text": text, "spans": [[text.index(of), text.index(of) + len(of), "物"]]}
        for text, _, of in rows
    ]
    (raw / "names.jsonl").write_text("\n".join(map(json.dumps, spans)), encoding="utf-8")
    columns = {"sentence1": "text", "label": "spans"}
    about = {"kind": "tokens", "files": {"train": "names.jsonl"}, "columns": columns}
    write_yaml(tasks / "names.yaml", {**about, "max_length": 32})
    paragraphs = [
        {
            "context": text,
            "qas": [
                {
                    "id": str(number),
                    "question": "Фильм كَانَ อาหาร.",
                    "answers": [{"text": of, "answer_start": text.index(of)}],
                }
            ],
        }
        for number, (text, _, of) in enumerate(rows)
    ]
    (raw / "questions.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    files = {"format": "squad", "train": "questions.json"}
    write_yaml(tasks / "questions.yaml", {"kind": "span", "files": files, "max_length": 48})


def make_languages(folder: Path, save_teacher: Callable[[Path], Path]) -> Path:
    """Return a workspace of text in all languages, with a teacher and tasks."""
    make_workspace(folder)
    shutil.rmtree(folder / "data/raw/teacher")
    save_teacher(folder / "data/raw/teacher")
    lines = [text for language in LANGUAGES for text, _, _ in rows_of(language)]
    (folder / "data/raw/corpus/text.txt").write_text("\n\n".join(lines), encoding="utf-8-sig")
    write_tasks(folder)
    edit_yaml(folder / "params.yaml", tasks=list(TASKS), systems=["tinybert_mini"])
    return folder


@pytest.fixture
def inside(tmp_path, monkeypatch):
    def enter(save_teacher: Callable[[Path], Path]) -> None:
        monkeypatch.chdir(make_languages(tmp_path, save_teacher))
        monkeypatch.setenv("DVC_ROOT", str(tmp_path))
        monkeypatch.setenv("TINYBERT_DOCTOR", "warn")  # a teacher of two epochs knows nothing

    return enter


@pytest.mark.slow
@pytest.mark.parametrize("save_teacher", [save_wordpiece, save_unigram])
def test_three_scripts_run_through_every_stage(inside, capsys, save_teacher):
    inside(save_teacher)
    copies = 2 if save_teacher is save_wordpiece else 0  # words are whole in WordPiece alone
    edit_section(Path("params/profiles/tiny.yaml"), "augment", num_copies=copies)
    run_stage("prepare_corpus")
    assert capsys.readouterr().out.count("cuts text otherwise than BERT's") == (not copies)
    for stage in ("word_vectors", "fetch_teacher"):
        run_stage(stage)
    for stage in ("prepare_task", "finetune_teacher", "augment", "teacher_logits"):
        for task in TASKS:
            run_stage(stage, task)
    said = capsys.readouterr().out
    assert "does not know the text" not in said
    # Of a question and its passage one has spaces: those rows get copies.
    assert said.count("since they are written without spaces") == (2 if copies else 0)
    run_stage("general_distill", "tinybert_mini")
    for stage in ("intermediate_distill", "prediction_distill", "evaluate", "model_card", "export"):
        for task in TASKS:
            run_stage(stage, "tinybert_mini", task)
    run_stage("benchmark_latency", "tinybert_mini")
    run_stage("report")
    predicted = Path("reports/predictions/tinybert_mini")
    answers = pd.read_csv(predicted / "opinions/dev.tsv", sep="\t")["prediction"]
    assert set(answers) <= set(LABELS.values())
    for line in (predicted / "names/dev.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for of in (*row["entities"], *row["gold"]):
            assert row["text"][of["start"] : of["end"]] == of["text"]
    page = Path("reports/index.html").read_text(encoding="utf-8")
    assert "добре" in page and "物" in page and 'dir="auto"' in page
    card = Path("models/student/tinybert_mini/opinions/README.md").read_text(encoding="utf-8")
    assert "`добре`, `坏`" in card


def test_rows_without_spaces_are_counted_once_and_judged_by_no_other_rule():
    counts = {"rows_in": 10, "rows_augmented": 8, "rows_unspaced": 6, "rows_out": 14}
    counts |= {"rows_without_copies": 6, "rows_without_candidates": 6, "words_masked": 20}
    summary = augment.summarise(augment.Counter(counts), 20)
    assert describe_unspaced(summary).startswith("6 of 8 rows (75%) get no copies, since")
    assert find_doubts(summary) == []
    summary = augment.summarise(augment.Counter(counts | {"rows_without_copies": 8}), 20)
    (doubt,) = find_doubts(summary)
    assert "got copies of 0 of 2 rows" in doubt
    assert describe_unspaced(augment.summarise(augment.Counter(rows_in=1), 0)) == ""


def test_a_text_without_spaces_gives_no_vectors_instead_of_an_end(tmp_path, monkeypatch):
    monkeypatch.chdir(make_workspace(tmp_path))
    settings = read_section("word_vectors", WordVectorsSettings)
    lines = [text for language in UNSPACED for text, _, _ in rows_of(language)]
    corpus = tmp_path / "text.txt"
    corpus.write_text("\n\n".join([*lines, "a b", ""]), encoding="utf-8")
    settings = settings.model_copy(update={"min_count": 2})
    options = (settings, corpus, corpus, 0, tmp_path / "vectors")
    assert word_vectors.make_word_vectors(*options) == 0
    assert nearest_words(load_vectors(tmp_path / "vectors"), ["a"], 3) == {}


@pytest.mark.parametrize(
    ("text", "level", "cure"),
    [
        ("Khách sạn rất tốt.", None, ""),
        (unicodedata.normalize("NFD", "Khách sạn rất tốt."), "wrong", "Unicode's form NFC"),
        ("ქართული ენა", "wrong", "a teacher of the text's language"),
        ("Der Film war sehr schön in ქართული.", "doubt", "a teacher of the text's language"),
    ],
)
def test_text_that_the_teacher_does_not_know_is_said_with_its_cure(tmp_path, text, level, cure):
    tokenizer = load_tokenizer(save_wordpiece(tmp_path))
    found = judge(pd.DataFrame({"sentence1": np.repeat([text], 3)}), tokenizer, "mine")
    assert [each.level for each in found] == ([level] if level else [])
    assert all(cure in each.line and each.line.startswith("mine: ") for each in found)
