"""Text becomes blocks without losing a token, and wrong text is named by file and line."""

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from itertools import chain

import numpy as np
import pytest

from stages.prepare_corpus import (
    PrepareCorpusSettings,
    describe,
    find_documents,
    find_doubts,
    prepare_corpus,
)
from tests.fixtures.models import VOCABULARY, WORDS, tiny_tokenizer
from tests.fixtures.workspace import ROOT
from tinybert.runtime.errors import InputError
from tinybert.text.corpus import limit_words, read_hub, write_corpus
from tinybert.text.files import read_text_files
from tinybert.text.shards import make_shard

DOCUMENTS = [
    ["the cat sat on the mat .", "then it flew over the big red house ."],
    ["a dog was not very good ."],
    ["they saw the old green river . he liked it . she found one bird under a small tree ."],
] * 5
SETTINGS = PrepareCorpusSettings(source="files", hub=None, max_words=None, block_length=16)


@pytest.fixture
def tokenizer(tmp_path):
    return tiny_tokenizer(tmp_path / "tokenizer")


def blocks_of(folder):
    return np.load(folder / "blocks.npy"), np.load(folder / "first_lengths.npy")


def test_every_token_stands_in_a_block_in_its_order(tmp_path, tokenizer):
    counts = write_corpus(DOCUMENTS, tokenizer, 16, 0, tmp_path, tmp_path / "shards")
    blocks, firsts = blocks_of(tmp_path)
    text = " ".join(paragraph for document in DOCUMENTS for paragraph in document)
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = []
    for block, first in zip(blocks, firsts, strict=True):
        body = [token for token in block if token not in (2, 3)]
        # A block of one segment sees its successor's first token early, in place of a [SEP].
        found += body if first < 16 else body[:13]
    assert found == expected[: len(blocks) * 13]
    assert counts["num_tokens"] == len(expected)
    assert counts["num_tokens_left"] == len(expected) - len(blocks) * 13
    assert counts["num_words"] == len(text.split())


def test_blocks_have_the_shape_of_berts_inputs(tmp_path, tokenizer):
    write_corpus(DOCUMENTS, tokenizer, 16, 0, tmp_path, tmp_path / "shards")
    blocks, firsts = blocks_of(tmp_path)
    assert blocks.shape[1] == 16
    assert blocks.dtype == np.uint16
    assert (blocks[:, 0] == 2).all()
    assert (blocks[:, -1] == 3).all()
    for block, first in zip(blocks, firsts, strict=True):
        assert block[first - 1] == 3
        assert list(block).count(3) == (1 if first == 16 else 2)
    assert (firsts < 16).sum() > 0


def test_the_same_seed_gives_the_same_blocks(tmp_path, tokenizer):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_corpus(DOCUMENTS, tokenizer, 16, 7, tmp_path / name, tmp_path / name / "shards")
    for file in ("blocks.npy", "first_lengths.npy", "seconds.npy", "text.txt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def plain_blocks(ids, ends, length, seed, cls, sep, full_stop):
    """Cut one block after the other, as the docstring of `write_blocks` says."""
    rng, blocks, firsts, body = np.random.default_rng(seed), [], [], length - 3
    for start in range(0, len(ids) - body + 1, body):
        part = ids[start : start + body]
        cut = next((end - start for end in ends if start < end < start + body), 0)
        if not cut and rng.random() < 0.5:
            stops = [at + 1 for at, token in enumerate(part[:-1]) if token == full_stop]
            cut = min(stops, key=lambda stop: abs(stop - body // 2), default=0)
        after = [*ids, sep][start + body]
        parted = [cls, *part[:cut], sep, *part[cut:], sep]
        blocks.append(parted if cut else [cls, *part, after, sep])
        firsts.append(cut + 2 if cut else length)
    return np.array(blocks), np.array(firsts)


@pytest.mark.parametrize("length", [16, 24, 29])
@pytest.mark.parametrize("shard_characters", [1, 300, 10**6])
def test_blocks_are_those_of_a_plain_loop_whatever_the_shards(
    tmp_path, tokenizer, length, shard_characters
):
    rng = np.random.default_rng(3)
    words = [*WORDS[:20], ".", "."]
    documents = [
        [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(rng.integers(1, 4))]
        for _ in range(40)
    ]
    write_corpus(documents, tokenizer, length, 5, tmp_path, tmp_path / "shards", shard_characters)
    found = [tokenizer(" ".join(d), add_special_tokens=False)["input_ids"] for d in documents]
    ids, ends = list(chain(*found)), np.cumsum([len(one) for one in found])
    stop = tokenizer.convert_tokens_to_ids(".")
    blocks, firsts = plain_blocks(ids, ends, length, 5, 2, 3, stop)
    assert (firsts < length).any() and (firsts == length).any()
    assert np.array_equal(blocks_of(tmp_path)[0], blocks)
    assert np.array_equal(blocks_of(tmp_path)[1], firsts)


def test_blocks_say_whether_their_second_segment_follows_the_first(tmp_path, tokenizer):
    # Documents of 4 and 22 tokens, 13 in a block: the first block is cut where the first document
    # ends; the second one is all of the second document, cut after its full stop or not at all.
    documents = [["the cat sat ."], ["a big dog ran . " * 4 + "two birds"]]
    cut = set()
    for seed in range(8):
        write_corpus(documents, tokenizer, 16, seed, tmp_path, tmp_path / "shards")
        firsts = blocks_of(tmp_path)[1]
        seconds = np.load(tmp_path / "seconds.npy")
        assert seconds.dtype == np.int8 and len(seconds) == len(firsts) == 2
        assert (firsts[0], seconds[0]) == (6, 0)
        assert seconds[1] == (1 if firsts[1] < 16 else -1)
        cut.add(int(seconds[1]))
    assert cut == {1, -1}


def test_a_last_block_without_a_token_after_it_ends_in_two_separators(tmp_path, tokenizer):
    # 26 tokens without a full stop fill two blocks of 13 to the last one.
    write_corpus([["the cat"] * 13], tokenizer, 16, 0, tmp_path, tmp_path / "shards")
    the, cat = tokenizer.convert_tokens_to_ids(["the", "cat"])
    expected = [[2, *[the, cat] * 6, the, cat, 3], [2, *[cat, the] * 6, cat, 3, 3]]
    assert blocks_of(tmp_path)[0].tolist() == expected


def many_documents(first=0, last=12):
    """Yield documents whose words tell them apart: the tiny vocabulary has 43 of them."""
    for number in range(first, last):
        yield [" ".join([WORDS[number], *WORDS[number + 1 : number + 5]] * 4), "it was good ."]


def output_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_that_was_broken_off_tokenises_no_finished_shard_again(
    tmp_path, tokenizer, monkeypatch
):
    made = []

    def noted(documents, encoder):
        made.append(len(documents))
        return make_shard(documents, encoder)

    def killed(at):
        yield from many_documents(0, at)
        raise KeyboardInterrupt

    monkeypatch.setattr("tinybert.text.shards.make_shard", noted)
    for name in ("whole", "broken", "resumed"):
        (tmp_path / name).mkdir()
    shards = tmp_path / "shards"
    write_corpus(many_documents(), tokenizer, 16, 0, tmp_path / "whole", tmp_path / "others", 1)
    assert made == [1] * 12
    with pytest.raises(KeyboardInterrupt):
        write_corpus(killed(7), tokenizer, 16, 0, tmp_path / "broken", shards, 1)
    assert len(list(shards.iterdir())) == 7
    made.clear()
    write_corpus(many_documents(), tokenizer, 16, 0, tmp_path / "resumed", shards, 1)
    assert made == [1] * 5
    assert output_of(tmp_path / "resumed") == output_of(tmp_path / "whole")


def test_the_stage_goes_on_from_its_shards_and_removes_them_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    source = tmp_path / "tokenizer"
    tiny_tokenizer(source).save_pretrained(source)
    with pytest.raises(InputError, match="too little text"):
        prepare_corpus([["the cat"]], source, SETTINGS, 0, tmp_path / "corpus")
    assert len(list((tmp_path / "checkpoints/prepare_corpus").rglob("*.npz"))) == 1
    shutil.rmtree(tmp_path / "checkpoints")
    prepare_corpus(DOCUMENTS, source, SETTINGS, 0, tmp_path / "corpus")
    assert not list((tmp_path / "checkpoints").rglob("*.npz"))


@pytest.mark.parametrize("fault", ["other text", "wrong bytes"])
def test_a_shard_of_other_text_or_with_wrong_bytes_is_made_again(tmp_path, tokenizer, fault):
    for name in ("first", "second", "expected"):
        (tmp_path / name).mkdir()
    shards, documents = tmp_path / "shards", list(many_documents())
    write_corpus(documents, tokenizer, 16, 0, tmp_path / "first", shards, 1)
    if fault == "other text":
        documents[3] = ["a bird ran under the house ."]
    else:
        for file in shards.iterdir():
            raw = file.read_bytes()
            file.write_bytes(raw[:200] + bytes(byte ^ 1 for byte in raw[200:210]) + raw[210:])
    write_corpus(documents, tokenizer, 16, 0, tmp_path / "second", shards, 1)
    write_corpus(documents, tokenizer, 16, 0, tmp_path / "expected", tmp_path / "others", 1)
    assert output_of(tmp_path / "second") == output_of(tmp_path / "expected")


def test_memory_does_not_grow_with_the_corpus(tmp_path, tokenizer, monkeypatch):
    # A table of its full size hides what comes after it.
    monkeypatch.setattr("tinybert.text.word_tokens.SLOTS_LOG2", 8)

    def documents(count):
        for number in range(count):
            yield [f"{number} the cat sat on the mat . " * 500]  # 15 kB, 4000 tokens

    peaks = []
    for count in (20, 320):
        folder = tmp_path / str(count)
        folder.mkdir()
        tracemalloc.start()
        write_corpus(documents(count), tokenizer, 64, 0, folder, folder / "shards", 9_000)
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    # 300 documents more are 4.5 MB of text, 2.4 MB of ids.
    assert peaks[1] - peaks[0] < 1.5, peaks


def test_a_tokenizer_set_to_pad_and_cut_spoils_nothing(tmp_path, tokenizer):
    tokenizer.backend_tokenizer.enable_padding(length=40)
    tokenizer.backend_tokenizer.enable_truncation(4)
    write_corpus(DOCUMENTS, tokenizer, 16, 0, tmp_path, tmp_path / "shards")
    assert 0 not in blocks_of(tmp_path)[0]


def test_the_text_is_written_as_it_is_read(tmp_path, tokenizer):
    write_corpus(DOCUMENTS, tokenizer, 16, 0, tmp_path, tmp_path / "shards")
    assert list(read_text_files(tmp_path / "text.txt")) == DOCUMENTS


def test_too_little_text_is_refused(tmp_path, tokenizer):
    with pytest.raises(InputError, match="too little text, got 3 tokens; one block takes 13"):
        write_corpus([["the cat sat"]], tokenizer, 16, 0, tmp_path, tmp_path / "s")


def test_text_unknown_to_the_teacher_is_counted_and_refused_where_it_is_most(tmp_path, tokenizer):
    # 20 tokens of which one in four, or three in four, are not in the vocabulary.
    few, most = [["the cat sat 字"] * 5], [["the 字 字 字"] * 5]
    counts = write_corpus(few, tokenizer, 16, 0, tmp_path, tmp_path / "few")
    assert (counts["num_unknown"], counts["num_tokens"]) == (5, 20)
    with pytest.raises(InputError, match=r"got 15 of 20 word pieces as \[UNK\]"):
        write_corpus(most, tokenizer, 16, 0, tmp_path, tmp_path / "most")


COUNTS = {
    "num_blocks": 2,
    "num_documents": 3,
    "num_words": 30,
    "num_tokens": 40,
    "num_unknown": 2,
    "num_tokens_left": 4,
}


def test_the_stage_says_what_it_left_out_and_what_is_unknown():
    said = "2 blocks of 16 tokens from 3 documents, 30 words of 1.33 word pieces (4 tokens "
    said += "filled no block"
    assert describe(COUNTS, SETTINGS) == said + ")"
    stopped = describe(COUNTS, SETTINGS.model_copy(update={"max_words": 30}))
    assert stopped == said + ", the rest is left out: prepare_corpus.max_words)"
    assert not find_doubts(COUNTS, 180)  # 2 of 40 is the bound, 5%
    (line,) = find_doubts({**COUNTS, "num_unknown": 3}, 180)
    assert "got 3 of 40 word pieces; take a teacher whose vocabulary" in line


def test_text_in_single_letters_is_doubted_and_text_without_spaces_is_not():
    letters = {**COUNTS, "num_tokens": 195}  # of Russian in English pieces: 6.5 a word
    (line,) = find_doubts(letters, 30 * 15)
    assert "got 6.5 word pieces a word" in line and "take a teacher" in line
    assert not find_doubts(letters, 30 * 60)  # sentences of Chinese, which are words to a split
    assert not find_doubts({**COUNTS, "num_tokens": 90}, 180)  # 3 a word is the bound


def test_a_large_corpus_without_blank_lines_is_doubted():
    large = {**COUNTS, "num_words": 300_001, "num_tokens": 400_000}
    (line,) = find_doubts(large, 1_800_000)
    assert line.startswith("no blank lines part documents, got 300,001 words in 3;")
    assert not find_doubts({**large, "num_documents": 4}, 1_800_000)


@pytest.mark.parametrize("end", ["\u3002", "\uff1f", "\u0964", "."])
def test_segments_are_parted_at_the_full_stop_of_the_text(tmp_path, end):
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer", [*VOCABULARY, end])
    stop = tokenizer.convert_tokens_to_ids(end)
    write_corpus([[f"the cat sat {end} " * 40]], tokenizer, 16, 0, tmp_path, tmp_path / "shards")
    blocks, firsts = blocks_of(tmp_path)
    cut = firsts < 16
    assert cut.any() and not cut.all()
    assert (blocks[cut, firsts[cut] - 2] == stop).all()


def test_a_vocabulary_without_a_full_stop_parts_nothing_at_unknown_words(tmp_path):
    words = [word for word in VOCABULARY if word != "."]
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer", words)
    write_corpus([["the cat sat . " * 40]], tokenizer, 16, 0, tmp_path, tmp_path / "shards")
    assert tokenizer.unk_token_id in blocks_of(tmp_path)[0]
    assert (blocks_of(tmp_path)[1] == 16).all()


def test_a_hub_data_set_that_is_not_named_is_refused(tmp_path):
    settings = SETTINGS.model_copy(update={"source": "hub"})
    with pytest.raises(InputError, match=r"prepare_corpus\.hub: missing"):
        find_documents(settings, tmp_path)


def test_documents_are_taken_whole_until_there_are_words_enough():
    taken = list(limit_words([["a b c"], ["d e f"], ["g"]], 4))
    assert taken == [["a b c"], ["d e f"]]
    assert len(list(limit_words([["a"], ["b"]], None))) == 2


def test_a_hub_data_set_is_read_from_a_local_folder(tmp_path):
    rows = [{"text": "first line\n\nsecond line"}, {"text": ""}, {"text": "third"}]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "train.jsonl").write_text(lines + "\n")
    found = list(read_hub(str(tmp_path), None, "train", "text"))
    assert found == [["first line", "second line"], ["third"]]
    (tmp_path / "train.jsonl").write_text('{"text": null}\n{"text": "third"}\n')
    assert list(read_hub(str(tmp_path), None, "train", "text")) == [["third"]]
    (tmp_path / "train.jsonl").write_text('{"text": 3}\n')
    with pytest.raises(InputError, match="column 'text' must hold text, got int"):
        list(read_hub(str(tmp_path), None, "train", "text"))
    (tmp_path / "train.jsonl").write_text(lines + "\n")
    with pytest.raises(InputError, match="no column 'body', got text"):
        list(read_hub(str(tmp_path), None, "train", "body"))


def test_an_unreachable_hub_data_set_gives_one_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        list(read_hub("nobody/nothing-of-the-kind", None, "train", "text"))
    assert "\n" not in str(caught.value)


STREAM = """import sys
from tinybert.text.corpus import limit_words, read_hub
documents = limit_words(read_hub(sys.argv[1], None, "train", "text"), 1000)
print(sum(len(document) for document in documents))
"""


@pytest.mark.slow
def test_a_hub_data_set_larger_than_the_disk_leaves_nothing_there(tmp_path):
    (tmp_path / "set").mkdir()
    for part in range(3):  # 3 MB each; the words asked for stand in the first
        lines = (json.dumps({"text": f"{part} {number} " + "word " * 98}) for number in range(6000))
        (tmp_path / f"set/train-{part:05}-of-00003.jsonl").write_text("\n".join(lines))
    disk = tmp_path / "disk"
    disk.mkdir()
    places = {name: str(disk) for name in ("HF_HOME", "HF_DATASETS_CACHE", "TMPDIR", "HOME")}
    command = [sys.executable, "-c", STREAM, str(tmp_path / "set")]
    environment = {**os.environ, **places, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "10"  # rows of 100 words
    assert sum(file.stat().st_size for file in disk.rglob("*") if file.is_file()) == 0
