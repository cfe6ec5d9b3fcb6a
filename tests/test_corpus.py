"""Text becomes blocks without losing a token, and wrong text is named by file and line."""

import json

import numpy as np
import pytest

from tests.models import tiny_tokenizer
from tinybert.corpus import limit_words, read_hub, read_text_files, write_corpus
from tinybert.errors import InputError

DOCUMENTS = [
    ["the cat sat on the mat .", "then it flew over the big red house ."],
    ["a dog was not very good ."],
    ["they saw the old green river . he liked it . she found one bird under a small tree ."],
] * 5


def blocks_of(folder):
    return np.load(folder / "blocks.npy"), np.load(folder / "first_lengths.npy")


def test_every_token_stands_in_a_block_in_its_order(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    counts = write_corpus(DOCUMENTS, tokenizer, 16, 0, tmp_path)
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


def test_blocks_have_the_shape_of_berts_inputs(tmp_path):
    write_corpus(DOCUMENTS, tiny_tokenizer(tmp_path / "tokenizer"), 16, 0, tmp_path)
    blocks, firsts = blocks_of(tmp_path)
    assert blocks.shape[1] == 16
    assert blocks.dtype == np.uint16
    assert (blocks[:, 0] == 2).all()
    assert (blocks[:, -1] == 3).all()
    for block, first in zip(blocks, firsts, strict=True):
        assert block[first - 1] == 3
        assert list(block).count(3) == (1 if first == 16 else 2)
    assert (firsts < 16).sum() > 0


def test_the_same_seed_gives_the_same_blocks(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_corpus(DOCUMENTS, tokenizer, 16, 7, tmp_path / name)
    for file in ("blocks.npy", "first_lengths.npy", "text.txt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_tokenizer_set_to_pad_and_cut_spoils_nothing(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    tokenizer.backend_tokenizer.enable_padding(length=40)
    tokenizer.backend_tokenizer.enable_truncation(4)
    write_corpus(DOCUMENTS, tokenizer, 16, 0, tmp_path)
    assert 0 not in blocks_of(tmp_path)[0]


def test_the_text_is_written_as_it_is_read(tmp_path):
    write_corpus(DOCUMENTS, tiny_tokenizer(tmp_path / "tokenizer"), 16, 0, tmp_path)
    assert list(read_text_files(tmp_path / "text.txt")) == DOCUMENTS


def test_too_little_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="too little text, got 3 tokens; one block takes 13"):
        write_corpus([["the cat sat"]], tiny_tokenizer(tmp_path / "t"), 16, 0, tmp_path)


def test_documents_are_taken_whole_until_there_are_words_enough():
    taken = list(limit_words([["a b c"], ["d e f"], ["g"]], 4))
    assert taken == [["a b c"], ["d e f"]]
    assert len(list(limit_words([["a"], ["b"]], None))) == 2


def test_bytes_that_are_no_utf8_are_named_by_file_and_line(tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"fine\nalso fine\nbroken \xff here\n")
    with pytest.raises(InputError) as caught:
        list(read_text_files(tmp_path))
    assert "bad.txt:3: not valid UTF-8, got byte 0xff at column 8" in str(caught.value)


def test_a_missing_or_empty_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no \.txt files, got an empty folder"):
        list(read_text_files(tmp_path))
    with pytest.raises(InputError, match="got nothing"):
        list(read_text_files(tmp_path / "absent"))
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(InputError, match=r"empty\.txt: holds no text"):
        list(read_text_files(tmp_path))


def test_a_byte_order_mark_and_windows_line_ends_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree\r\n")
    assert list(read_text_files(tmp_path)) == [["one", "two"], ["three"]]


def test_a_hub_data_set_is_read_from_a_local_folder(tmp_path):
    rows = [{"text": "first line\n\nsecond line"}, {"text": ""}, {"text": "third"}]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "train.jsonl").write_text(lines + "\n")
    found = list(read_hub(str(tmp_path), None, "train", "text"))
    assert found == [["first line", "second line"], ["third"]]
    with pytest.raises(InputError, match="no column 'body', got text"):
        list(read_hub(str(tmp_path), None, "train", "body"))


def test_an_unreachable_hub_data_set_gives_one_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        list(read_hub("nobody/nothing-of-the-kind", None, "train", "text"))
    assert "\n" not in str(caught.value)
