import os
import subprocess
import sys

import numpy as np
import pytest

from tests.fixtures.vectors import stored, words_of, written
from tests.fixtures.workspace import ROOT
from tinybert.runtime.errors import InputError
from tinybert.text.vector_files import read_text_vectors
from tinybert.text.word_vectors import (
    WORDS_PER_SENTENCE,
    load_vectors,
    nearest_words,
    train_vectors,
)

GLOVE = ROOT.parent / "shared" / "data" / "glove"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('He said, "well-known"!', ["He", "said", "well", "known"]),
        ("don't stop o'clock", ["don't", "stop", "o'clock"]),
        ("Anna's we'll I\u2019m", ["Anna", "s", "we", "ll", "I", "m"]),
        ("ANNA'S DON'T", ["ANNA", "S", "DON'T"]),
        ("did n't 'quoted'", ["did", "n't", "quoted"]),
        (
            "cafe\u0301 \u0939\u093f\u0902\u0926\u0940",
            ["cafe\u0301", "\u0939\u093f\u0902\u0926\u0940"],
        ),
        ("a_b $3.50", ["a", "b", "3", "50"]),
        (" ... \t", []),
        # Marks belong to their letters, and joiners to the word that they stand in.
        ("कुत्ता पेड़।", ["कुत्ता", "पेड़"]),
        ("لَذِيذًا جدًّا،", ["لَذِيذًا", "جدًّا"]),
        ("mi\u0300nh đa\u0303 no\u0301i", ["mi\u0300nh", "đa\u0303", "no\u0301i"]),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"],
        ),
        ("a\u200bb c\u200d \u2764\ufe0f\u200d\U0001f525", ["a", "b", "c"]),
        ("한국어 영화 😀", ["한국어", "영화"]),
        # Chinese, Japanese, Thai, Lao, Khmer, Burmese: words cannot be told.
        ("很好的电影", []),
        ("映画はとても良かった", []),
        ("อาหารอร่อย", []),
        ("ອາຫານແຊບ", []),
        ("អាហារឆ្ងាញ់", []),
        ("အစားအစာ", []),
        # What stands in a text of the other kind: a name in Chinese, a quotation in English.
        ("这部Inception电影很好看", []),
        ("he said 你好 to the man", ["he", "said", "to", "the", "man"]),
    ],
)
def test_a_word_is_a_run_of_letters_without_punctuation_or_clitics(text, words):
    assert words_of(text) == words


@pytest.mark.skipif(not GLOVE.is_dir(), reason="no GloVe file")
def test_real_glove_vectors_put_alike_words_together(tmp_path):
    found, duplicates = read_text_vectors(GLOVE)
    assert found.vectors.shape == (7842, 50)
    assert duplicates == 0
    near = nearest_words(stored(tmp_path, *found), ["france", "king"], 15)
    assert "spain" in near["france"]
    assert "queen" in near["king"]


def test_neighbours_are_ranked_by_cosine_without_the_word_itself(tmp_path):
    # Cosines with `east` (1, 0): far 1 (length does not count), north_east 0.707, north 0,
    # west -1; `zero` has no direction and counts as 0, after `north` which comes first.
    words = ["west", "north", "east", "north_east", "far", "zero"]
    vectors = stored(tmp_path, words, [[-1, 0], [0, 1], [1, 0], [1, 1], [9, 0], [0, 0]])
    near = nearest_words(vectors, ["east", "zero", "unknown", "east"], 9)
    assert near == {"east": ["far", "north_east", "north", "zero", "west"]}
    assert nearest_words(vectors, ["east"], 2) == {"east": ["far", "north_east"]}


def test_neighbours_are_those_of_a_plain_computation_whatever_the_block(tmp_path, monkeypatch):
    words = [f"w{number}" for number in range(60)]
    values = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    plain = {
        word: [words[i] for i in np.argsort(-(unit @ unit[number])) if i != number][:5]
        for number, word in enumerate(words)
    }
    vectors = stored(tmp_path, words, values)
    assert nearest_words(vectors, words, 5) == plain
    monkeypatch.setattr("tinybert.text.word_vectors.SCORES_AT_ONCE", 130)
    assert nearest_words(vectors, words, 5) == plain


def test_many_equal_neighbours_are_taken_in_the_order_of_the_vocabulary(tmp_path, monkeypatch):
    # 40 words in one direction, of lengths 1, 2 and 4, so that their cosines are equal exactly;
    # in float32 they are not, once the norm is rounded and the product is cut into blocks.
    values = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)
    values[10:50] = values[10] * np.array([1, 2, 4, 1], dtype=np.float32)[np.arange(40) % 4, None]
    words = [f"w{number}" for number in range(60)]
    vectors = stored(tmp_path, words, values)
    expected = {f"w{n}": [f"w{m}" for m in range(10, 16) if m != n][:5] for n in range(10, 50)}
    assert nearest_words(vectors, words[10:50], 5) == expected
    monkeypatch.setattr("tinybert.text.word_vectors.SCORES_AT_ONCE", 130)
    assert nearest_words(vectors, words[10:50], 5) == expected


def test_storage_holds_no_pickle_and_a_cut_file_is_refused(tmp_path):
    stored(tmp_path, ["a", "b"], [[1, 2], [3, 4]])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "vectors.npy",
        "word_vectors.json",
        "words.txt",
    ]
    np.load(tmp_path / "vectors.npy", allow_pickle=False)
    (tmp_path / "words.txt").write_text("a\n")
    with pytest.raises(InputError, match="got 1 distinct ones for 2 rows"):
        load_vectors(tmp_path)
    (tmp_path / "words.txt").write_text("a\na\n")
    with pytest.raises(InputError, match="got 1 distinct ones for 2 rows"):
        load_vectors(tmp_path)
    with pytest.raises(InputError, match="dvc repro word_vectors"):
        load_vectors(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vectors.npy", b""),
        ("vectors.npy", b"\x93NUMPY\x01\x00"),
        ("vectors.npy", b"<html>\n"),
        ("words.txt", b"\xff\n\n"),
    ],
)
def test_stored_vectors_that_cannot_be_read_give_one_line(tmp_path, name, content):
    stored(tmp_path, ["a", "b"], [[1, 2], [3, 4]])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="run `dvc repro --force word_vectors`") as caught:
        load_vectors(tmp_path)
    assert "\n" not in str(caught.value)


def test_stored_vectors_of_another_shape_are_refused(tmp_path):
    stored(tmp_path, ["a", "b"], [[1, 2], [3, 4]])
    np.save(tmp_path / "vectors.npy", np.ones(2))
    with pytest.raises(InputError, match=r"got float64 of shape \(2,\)"):
        load_vectors(tmp_path)


OPTIONS = {"vector_size": 8, "window": 2, "min_count": 2, "num_epochs": 2, "max_words": None}
TEXT = "The cat's milk is white.\nA Cat drinks the milk\n\nthe dog barks, a dog sleeps\n"


def test_training_gives_vectors_to_lowercased_words_that_occur_often_enough(tmp_path):
    found = train_vectors(written(tmp_path, TEXT), **OPTIONS, seed=1)
    # the 3; cat, milk, a, dog 2 each
    assert found.words[0] == "the"
    assert set(found.words) == {"the", "cat", "milk", "a", "dog"}
    assert found.vectors.shape == (5, 8)
    few = train_vectors(written(tmp_path, TEXT), **{**OPTIONS, "max_words": 2}, seed=1)
    assert few.words == found.words[:2]


def test_training_twice_in_any_process_gives_the_same_vectors(tmp_path):
    file = written(tmp_path, TEXT * 50)
    code = (
        "import sys, hashlib; from pathlib import Path;"
        "from tinybert.text.word_vectors import train_vectors;"
        f"found = train_vectors(Path(sys.argv[1]), **{OPTIONS!r}, seed=int(sys.argv[2]));"
        "print(hashlib.md5(found.vectors.tobytes()).hexdigest(), file=sys.stderr)"
    )

    def run(hash_seed, seed):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", code, str(file), seed]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stderr

    assert run("1", "7") == run("2", "7")
    one, other = (train_vectors(file, **OPTIONS, seed=seed).vectors for seed in (7, 8))
    assert not np.array_equal(one, other)


def test_no_word_of_a_long_paragraph_is_lost(tmp_path):
    # gensim cuts a sentence after 10,000 words, and a word it never trains on keeps its initial
    # vector however many epochs there are; `last` stands behind 12,000 words.
    # 3,000 different ones, since frequent words are sampled down before the cut.
    before = " ".join(f"w{number % 3000}" for number in range(12 * WORDS_PER_SENTENCE))
    file = written(tmp_path, before + " last one" * 5 + "\n")
    short, long = (
        train_vectors(file, **{**OPTIONS, "num_epochs": epochs}, seed=1) for epochs in (1, 5)
    )
    place = short.words.index("last")
    assert not np.array_equal(short.vectors[place], long.vectors[place])


def test_too_little_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="got no word 2 times"):
        train_vectors(written(tmp_path, "all words differ\n"), **OPTIONS, seed=1)
    with pytest.raises(InputError, match="dvc repro prepare_corpus"):
        train_vectors(tmp_path / "nowhere", **OPTIONS, seed=1)
