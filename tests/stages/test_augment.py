import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from stages.augment import augment_task, choose_rows, describe, describe_unspaced, find_doubts
from tests.fixtures.measured import task_info
from tests.fixtures.models import save_pretrained
from tinybert.augmentation.masked_words import MaskedWords
from tinybert.augmentation.sections import AugmentSettings
from tinybert.reports.page import read_samples
from tinybert.runtime.errors import InputError
from tinybert.tasks.task import TaskInfo, read_augmented, read_split, write_task
from tinybert.text.word_vectors import WordVectors, save_vectors

WORDS = "cat dog house tree river stone red blue runs sleeps walks the a is".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *'.,"', "##s", *WORDS]
SETTINGS = AugmentSettings(
    replace_probability=0.5, num_copies=5, num_candidates=4, max_rows=None, batch_tokens=64
)
ROWS = pd.DataFrame(
    {
        "sentence1": ['the "cat"\truns', 'a ""dog", sleeps', "the river is\u2028red", "the a"],
        "sentence2": ["the cats walks", "\\dog\\t\r\n", "'tree'", "house"],
        "label": np.array([1, 0, 1, 0], dtype=np.int64),
    }
)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"max_position_embeddings": 32, "initializer_range": 0.5}
    save_pretrained(tmp_path / "model", vocabulary=VOCABULARY, **sizes)
    for name in ("task", "vectors"):
        (tmp_path / name).mkdir()
    found = WordVectors(["cats", "lion", "tiger"], np.eye(3, 2, dtype=np.float32) + 1)
    save_vectors(tmp_path / "vectors", found, "file")
    return tmp_path


def put(folders, rows, pair=True):
    num_rows = {"train": len(rows)}
    info = task_info("toy", ["no", "yes"], ["accuracy"], pair=pair, num_rows=num_rows)
    write_task(folders / "task", info, {"train": rows})


def augment(folders, settings=SETTINGS, seed=3):
    inputs = (folders / name for name in ("task", "model", "vectors"))
    return augment_task(settings, seed, None, *inputs, folders / "out")


def test_the_set_holds_every_original_first_with_its_label_and_special_characters(folders):
    put(folders, ROWS)
    summary = augment(folders)
    out = read_split(folders / "out", "train")
    assert list(out.columns) == ["sentence1", "sentence2", "label", "row"]
    assert out.label.dtype == np.int64 and out.row.dtype == np.int64
    firsts = out.drop_duplicates("row").drop(columns="row").reset_index(drop=True)
    pd.testing.assert_frame_equal(firsts, ROWS, check_dtype=False)
    assert (out.label.to_numpy() == ROWS.label.to_numpy()[out.row]).all()
    # Every copy keeps quotes, tabs and line ends: its words alone differ.
    words = r"[a-z]+"
    for side in ("sentence1", "sentence2"):
        frames = out[side].str.replace(words, "w", regex=True)
        originals = ROWS[side].str.replace(words, "w", regex=True)
        assert frames.tolist() == originals.to_numpy()[out.row].tolist()
    assert len(out) == summary["rows_out"] > 20


def test_counts_and_samples_are_written(folders):
    put(folders, ROWS)
    summary = augment(folders)
    stored = json.loads((folders / "out" / "augmentation.json").read_text(encoding="utf-8"))
    samples = stored.pop("samples")
    assert stored == summary
    # cat runs | dog sleeps | river red | dog, tree, house, walks; cats has a vector; the \\t of
    # row 1 leaves a t, which stays as the, a (3 times in all), is, the do.
    assert summary["words"] == {
        **{"masked": 10, "vectors": 1, "no_vector": 0, "kept": 8},
        **{"entity": 0, "answer": 0},
    }
    assert summary["rows_in"] == summary["rows_augmented"] == 4
    assert summary["rows_out"] + summary["duplicates_dropped"] == 4 + 4 * 2 * 5
    assert summary["requests_asked"] + summary["requests_saved"] == 10
    assert samples[0]["row"] == 0
    assert samples[0]["original"] == ROWS.iloc[0][["sentence1", "sentence2"]].to_dict()
    assert 1 <= len(samples[0]["copies"]) <= 3


def doubts(folders, sentences, **changes):
    rows = pd.DataFrame({"sentence1": sentences, "label": 0})
    put(folders, rows, pair=False)
    return find_doubts(augment(folders, SETTINGS.model_copy(update=changes)))


@pytest.mark.parametrize(
    "sentences",
    [
        ["Это очень хороший фильм"],
        ["ταινία ήταν πολύ καλή"],
        ["zebra elephant giraffe cat"],
    ],
)
def test_text_of_another_language_than_the_teachers_gives_one_line(folders, sentences):
    (line,) = doubts(folders, sentences)
    assert "augmentation changed little" in line and "\n" not in line
    assert "take a teacher and word vectors of the text's language" in line


def test_text_without_spaces_gives_no_doubt_but_one_line(folders):
    sentences = ["这部电影非常好看", "この映画はとても面白いです", "หนังเรื่องนี้ดีมาก", "the cat runs"]
    put(folders, pd.DataFrame({"sentence1": sentences, "label": 0}), pair=False)
    summary = augment(folders)
    assert find_doubts(summary) == []
    assert describe_unspaced(summary).startswith("3 of 4 rows (75%) get no copies")


@pytest.mark.parametrize(
    ("sentences", "changes", "cure"),
    [
        (["1998", "3.50 $", "😀😀", "", "the cat"], {}, "4 rows hold marks, numbers and"),
        (["the cat"] * 4, {"replace_probability": 0.0}, "raise augment.replace_probability"),
    ],
)
def test_rows_that_stay_as_they_are_give_one_line_with_its_cure(folders, sentences, changes, cure):
    (line,) = doubts(folders, sentences, **changes)
    assert cure in line


@pytest.mark.parametrize(
    ("sentences", "changes"),
    [
        (["cat", "DOG", "tre\u0301e", "https://cat.red/dog?is=blue", "if (cat) { dog(); }"], {}),
        (["这部电影"], {"num_copies": 0}),
        (["the cat runs", "the dog walks", "a house", "1998"], {"num_copies": 20}),
    ],
)
def test_text_that_is_mostly_augmented_gives_no_line(folders, sentences, changes):
    assert not doubts(folders, sentences, **changes)


def test_vectors_that_know_few_of_the_words_give_one_line(folders):
    # 4 words in 5 are masked; of the 100 others the vectors know 9, then 10.
    rare = [f"zebra{letter}" for letter in "abcdefghijklmnopqrst"] * 5
    for num_known, num_doubts in [(9, 1), (10, 0)]:
        words = ["cats"] * num_known + rare[num_known:]
        found = doubts(folders, [f"cat dog tree river {word}" for word in words])
        assert len(found) == num_doubts
        assert not found or "got 9 of 100 looked up" in found[0]


def test_what_was_made_is_said_in_numbers(folders):
    put(folders, ROWS)
    summary = augment(folders)
    made = summary["rows_out"] - 4
    # Words as counted above: 10 masked, 1 looked up, 8 kept.
    assert describe(summary) == (
        f"{4 + made} rows from 4 ({1 + made / 4:.1f} times), {made} of 40 copies distinct; of 19 "
        "words 10 were masked, 1 looked up, 8 kept (function words, numbers), 0 could not be "
        "replaced"
    )


def test_only_max_rows_get_copies_and_all_originals_stay(folders, capsys):
    put(folders, ROWS)
    augment(folders, SETTINGS.model_copy(update={"max_rows": 2}))
    assert "2 of 4 rows get copies" in capsys.readouterr().out
    counts = read_split(folders / "out", "train").row.value_counts()
    assert set(counts.index) == {0, 1, 2, 3}
    assert (counts > 1).sum() == 2


def test_no_copies_give_exactly_the_original_rows_and_ask_the_model_nothing(folders, capsys):
    put(folders, ROWS)
    summary = augment(folders, SETTINGS.model_copy(update={"num_copies": 0, "max_rows": 2}))
    out = read_split(folders / "out", "train")
    assert out.pop("row").tolist() == [0, 1, 2, 3]
    pd.testing.assert_frame_equal(out, ROWS, check_dtype=False)
    assert (summary["rows_in"], summary["rows_out"], summary["requests_asked"]) == (4, 4, 0)
    assert "max_rows" not in capsys.readouterr().out


def test_a_larger_choice_of_rows_holds_the_smaller_one():
    assert choose_rows(9, None, 0).all() and choose_rows(9, 20, 0).all()
    few, more = choose_rows(100, 10, 0), choose_rows(100, 30, 0)
    assert (few.sum(), more.sum()) == (10, 30)
    assert more[few].all()
    assert not np.array_equal(few, choose_rows(100, 10, 1))


def test_the_same_seed_writes_the_same_file_at_any_batch_size(folders):
    put(folders, ROWS)
    file = folders / "out" / "train.parquet"
    augment(folders)
    first = file.read_bytes()
    augment(folders, SETTINGS.model_copy(update={"batch_tokens": 4096}))
    assert file.read_bytes() == first
    augment(folders, seed=4)
    assert file.read_bytes() != first


MANY = pd.DataFrame(
    {
        "sentence1": [
            f"the {a} {b} walks {c}" for a in WORDS[:6] for b in WORDS[4:7] for c in "ab"
        ],
        "sentence2": ["the river cats is blue"] * 36,
        "label": np.arange(36, dtype=np.int64) % 2,
    }
)


@pytest.fixture
def many_shards(monkeypatch):
    monkeypatch.setattr("tinybert.augmentation.answers.SHARD_TOKENS", 40)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def count_requests(monkeypatch, dies_after=10**9):
    """Return a list that fills with the number of requests of each call of the model."""
    asked, best = [], MaskedWords.best

    def counted(self, requests, progress):
        if len(asked) == dies_after:
            raise KeyboardInterrupt
        asked.append(len(requests))
        return best(self, requests, progress)

    monkeypatch.setattr(MaskedWords, "best", counted)
    return asked


def test_an_interrupted_run_goes_on_where_it_was_and_writes_the_same(
    folders, many_shards, monkeypatch
):
    put(folders, MANY)
    with monkeypatch.context() as patch:
        whole = count_requests(patch)
        summary = augment(folders)
    assert sum(whole) == summary["requests_asked"] and len(whole) > 6
    expected = contents(folders / "out")
    assert not any((folders / "checkpoints/augment").iterdir())
    shutil.rmtree(folders / "out")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_requests(patch, dies_after=4)
        augment(folders)
    assert not (folders / "out").exists()
    asked = count_requests(monkeypatch)
    # Other settings, or another model, do not take up what was answered to these.
    augment(folders, SETTINGS.model_copy(update={"num_candidates": 3}))
    assert asked == whole
    asked.clear()
    shutil.rmtree(folders / "out")
    assert augment(folders) == summary
    assert asked == whole[4:]
    assert contents(folders / "out") == expected
    assert not any((folders / "checkpoints/augment").iterdir())


KILLED = """
import os, pathlib, signal, sys
import tests.stages.test_augment as here
import tinybert.augmentation.answers
tinybert.augmentation.answers.SHARD_TOKENS = 40
store = tinybert.augmentation.answers._store
def dying(file, found):
    if file.stem == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    store(file, found)
tinybert.augmentation.answers._store = dying
here.augment(pathlib.Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_run_killed_twice_writes_the_same(folders, many_shards, monkeypatch):
    put(folders, MANY)
    augment(folders)
    expected = contents(folders / "out")
    shutil.rmtree(folders / "out")
    for shard in ("000001", "000003"):
        done = subprocess.run([sys.executable, "-c", KILLED, str(folders), shard], check=False)
        assert done.returncode == -signal.SIGKILL
        kept = sorted(path.stem for path in folders.glob("checkpoints/augment/*/*.npy"))
        assert kept == [f"{number:06}" for number in range(int(shard))]
    asked = count_requests(monkeypatch)
    summary = augment(folders)
    assert 0 < sum(asked) < summary["requests_asked"]
    assert contents(folders / "out") == expected


def test_threads_parts_shards_and_batches_change_nothing(folders, monkeypatch):
    put(folders, MANY)
    augment(folders)
    expected = (folders / "out" / "train.parquet").read_bytes()
    frame = read_split(folders / "out", "train")
    summary = json.loads((folders / "out" / "augmentation.json").read_text())
    threads = torch.get_num_threads()
    monkeypatch.setattr("tinybert.augmentation.answers.SHARD_TOKENS", 60)
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        augment(folders, SETTINGS.model_copy(update={"batch_tokens": 8}))
    finally:
        torch.set_num_threads(threads)
    assert (folders / "out" / "train.parquet").read_bytes() == expected
    monkeypatch.setattr("tinybert.augmentation.sampling.ROWS_AT_ONCE", 5)
    augment(folders)
    # Parts are row groups of the file: other bytes, the same rows, counts and samples.
    pd.testing.assert_frame_equal(read_split(folders / "out", "train"), frame)
    assert json.loads((folders / "out" / "augmentation.json").read_text()) == summary


def test_missing_inputs_are_named(folders):
    with pytest.raises(InputError, match="dvc repro prepare_task"):
        augment(folders)
    put(folders, ROWS[:0])
    with pytest.raises(InputError, match="no training rows"):
        augment(folders)
    put(folders, ROWS)
    (folders / "vectors" / "words.txt").unlink()
    with pytest.raises(InputError, match="dvc repro word_vectors"):
        augment(folders)
    assert not (folders / "out").exists()


LISTS = {
    "multilabel": pd.DataFrame(
        {
            "sentence1": ["the cat runs", "a dog sleeps", "the river is red"],
            "label": [np.array(each, dtype=np.int64) for each in ([], [0, 1], [1])],
        }
    ),
    "tokens": pd.DataFrame(
        {
            "sentence1": ["", "the cats runs", "red river"],
            "word_starts": [np.array(each, dtype=np.int64) for each in ([], [0, 4, 9], [0, 4])],
            "word_ends": [np.array(each, dtype=np.int64) for each in ([], [3, 8, 13], [3, 9])],
            "label": [np.array(each, dtype=np.int64) for each in ([], [0, 0, 1], [0, 0])],
        }
    ),
    "span": pd.DataFrame(
        {
            "sentence1": ["is the river red", "the cat", "a dog"],
            "sentence2": ["the cat\n\nruns", "cats  walks the river", "the tree" + " is red" * 90],
            "id": ["a", "b", "c"],
            "label": [
                np.array([{"start": start, "text": text} for start, text in of], dtype=object)
                for of in ([], [(16, "river"), (12, "the river")], [])
            ],
        }
    ),
}
LABELS_OF = {"multilabel": ["no", "yes"], "tokens": ["O", "B-X", "I-X"], "span": []}
METRIC_OF = {"multilabel": "f1_micro", "tokens": "entity_f1", "span": "squad_f1"}


def put_lists(folders, kind, rows=None):
    rows = LISTS[kind] if rows is None else rows
    info = TaskInfo(
        name="toy",
        kind=kind,
        labels=LABELS_OF[kind],
        metrics=[METRIC_OF[kind]],
        pair=kind == "span",
        num_rows={"train": len(rows)},
    )
    write_task(folders / "task", info, {"train": rows})
    return info


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("rows_at_once", [1, 1024])
def test_lists_of_labels_are_written_as_the_task_has_them(folders, monkeypatch, kind, rows_at_once):
    # The first part alone does not say what the lists hold: its row has empty ones.
    monkeypatch.setattr("tinybert.augmentation.sampling.ROWS_AT_ONCE", rows_at_once)
    info = put_lists(folders, kind)
    summary = augment(folders)
    out = read_augmented(folders / "out", info)
    assert list(out.columns) == [*LISTS[kind], "row"]
    assert len(out) == summary["rows_out"] > 6
    firsts = out.drop_duplicates("row").drop(columns="row").reset_index(drop=True)
    pd.testing.assert_frame_equal(firsts, LISTS[kind])
    if kind != "span":
        for label, row in zip(out.label, out.row, strict=True):
            assert label.tolist() == LISTS[kind].label[row].tolist()
    schemas = [pq.read_schema(folders / of / "train.parquet") for of in ("task", "out")]
    for name in LISTS[kind]:
        assert schemas[1].field(name).type == schemas[0].field(name).type


@pytest.mark.parametrize("kind", LISTS)
def test_no_copies_leave_lists_of_labels_as_they_are(folders, kind):
    info = put_lists(folders, kind)
    augment(folders, SETTINGS.model_copy(update={"num_copies": 0}))
    out = read_augmented(folders / "out", info).drop(columns="row")
    pd.testing.assert_frame_equal(out, LISTS[kind])


@pytest.mark.parametrize("kind", LISTS)
def test_samples_are_of_texts_and_the_start_of_long_ones_is_shown(folders, kind):
    put_lists(folders, kind)
    augment(folders)
    samples = read_samples(folders / "out" / "augmentation.json")
    assert len(samples) == (2 if kind == "tokens" else 3)
    for sample in samples:
        for texts in (sample["original"], *sample["copies"]):
            assert set(texts) == {name for name in LISTS[kind] if name.startswith("sentence")}
            assert all(len(text) <= 402 for text in texts.values())
    assert (len(samples[-1]["original"].get("sentence2", "")) == 402) == (kind == "span")


def test_of_a_passage_the_model_is_shown_what_surrounds_a_word(folders, monkeypatch):
    monkeypatch.setattr("stages.augment.PASSAGE_CONTEXT", 9)
    put_lists(folders, "span")
    asked, best = [], MaskedWords.best

    def watched(self, requests, progress):
        asked.extend(request.length for request in requests)
        return best(self, requests, progress)

    monkeypatch.setattr(MaskedWords, "best", watched)
    augment(folders)
    assert max(asked) == 9 + 2
    put(
        folders, pd.DataFrame({"sentence1": ["the tree" + " is red" * 8], "label": [0]}), pair=False
    )
    asked.clear()
    augment(folders)
    assert set(asked) == {18 + 2}


def test_words_left_to_entities_and_answers_are_said(folders):
    put_lists(folders, "tokens")
    assert ", 1 kept in entities, 0 could not be replaced" in describe(augment(folders))
    put_lists(folders, "span")
    assert ", 1 kept in answers, 0 could not be replaced" in describe(augment(folders))
    put_lists(folders, "multilabel")
    assert "(function words, numbers), 0 could not be replaced" in describe(augment(folders))


@pytest.mark.parametrize(("num_entities", "num_doubts"), [(2, 0), (3, 1)])
def test_more_rows_of_entities_alone_than_others_give_one_line(folders, num_entities, num_doubts):
    # Whoever keeps the words of entities has rows without copies, such as results of matches.
    rows = LISTS["tokens"].iloc[[2] * 5].reset_index(drop=True)
    entities = [np.array([1, 2] if row < num_entities else [0, 0]) for row in range(5)]
    put_lists(folders, "tokens", rows.assign(label=entities))
    settings = SETTINGS.model_copy(update={"num_copies": 20})
    found = find_doubts(augment(folders, settings))
    assert len(found) == num_doubts
    if found:
        assert "got copies of 2 of 5 rows" in found[0]
        assert "set augment.entity_words to replace" in found[0] and "\n" not in found[0]
    assert not find_doubts(
        augment(folders, settings.model_copy(update={"entity_words": "replace"}))
    )
