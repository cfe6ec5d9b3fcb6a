"""Text files as people have them: every word of them is read, or one line says why not."""

import gzip
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.refused import refused
from tinybert.runtime.errors import InputError
from tinybert.text.files import describe_text_files, read_text_files

TEXT = "one two\nthree\n\nfour\n"
DOCUMENTS = [["one two", "three"], ["four"]]


def refusal(path):
    return refused(lambda: list(read_text_files(path)))


def test_bytes_that_are_no_utf8_are_named_by_file_and_line(tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"fine\nalso fine\nbroken \xff here\n")
    assert "bad.txt:3: not valid UTF-8, got byte 0xff at column 8" in refusal(tmp_path)


def test_a_missing_or_empty_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no \.txt or \.txt\.gz files, got an empty folder"):
        list(read_text_files(tmp_path))
    with pytest.raises(InputError, match="got nothing"):
        list(read_text_files(tmp_path / "absent"))
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(InputError, match=r"empty\.txt: holds no text"):
        list(read_text_files(tmp_path))


def test_a_byte_order_mark_and_windows_line_ends_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree\r\n")
    assert list(read_text_files(tmp_path)) == [["one", "two"], ["three"]]


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT[:-1].encode(),
        f"\n \n{TEXT}\n\t\n\n".encode(),
        TEXT.replace("\n", " \n").encode(),
    ],
)
def test_line_ends_of_every_system_give_the_same_documents(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    assert list(read_text_files(tmp_path)) == DOCUMENTS


def test_nested_and_packed_files_are_read_in_the_order_of_their_names(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "x y.txt").write_text("second\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"first\n"))
    (tmp_path / "c.txt").write_text("third\n")
    (tmp_path / ".hidden").touch()
    assert list(read_text_files(tmp_path)) == [["first"], ["second"], ["third"]]
    assert describe_text_files(tmp_path) == ["reads 3 files"]
    assert list(read_text_files(tmp_path / "a.txt.gz")) == [["first"]]


def test_what_is_left_out_or_there_twice_is_said(tmp_path):
    for name, text in [("a.txt", "x\n"), ("b.txt", "x\n"), ("c.txt", "y\n"), ("d.md", "z\n")]:
        (tmp_path / name).write_text(text)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "e.jsonl").touch()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    first, second = describe_text_files(tmp_path)
    assert first == (
        "reads 3 files, leaves out 2 that are no .txt or .txt.gz: d.md, e.jsonl, follows no linked "
        "folder: link"
    )
    assert second.startswith(f"doubt: {tmp_path / 'a.txt'} is there 2 times, as b.txt;")


def test_a_folder_without_text_files_names_what_is_there(tmp_path):
    for number in range(7):
        (tmp_path / f"{number}.jsonl").touch()
    assert "got 0.jsonl, 1.jsonl, 2.jsonl, 3.jsonl, 4.jsonl, ...;" in refusal(tmp_path)
    assert "got 0.jsonl;" in refusal(tmp_path / "0.jsonl")


def test_an_empty_file_is_refused_before_the_others_are_read(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").touch()
    with pytest.raises(InputError, match=r"b\.txt: holds no text"):
        next(read_text_files(tmp_path))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TEXT.encode("utf-16"), "got UTF-16; convert it: `iconv"),
        (TEXT.encode("utf-16-le"), "a.txt:1: holds no plain text, got byte 0x00 at column 2"),
        ("gut\nschön\n".encode("latin-1"), "a.txt:2: not valid UTF-8, got byte 0xf6 at column 4"),
        (bytes(100), "got byte 0x00 at column 1"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS; run `git lfs"),
        (b"<!DOCTYPE html><html>", "got a web page"),
        (b"%PDF-1.7\n", "got an office document; save it as plain text"),
        (b"PK\x03\x04", "got a packed file; unpack it"),
        (gzip.compress(TEXT.encode() * 99, mtime=0)[:40], "cannot be read to its end"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-8] + bytes(8), "cannot be read to its end"),
        (b"\n \r\n", "holds no text"),
        (b"\xef\xbb\xbf", "holds no text"),
    ],
)
def test_what_is_no_text_is_named_with_its_cure(tmp_path, content, expected):
    (tmp_path / "a.txt").write_bytes(content)
    assert expected in refusal(tmp_path)


def test_a_line_too_long_for_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tinybert.text.files.MAX_LINE", 10)
    (tmp_path / "a.txt").write_text("short\n" + "x" * 10)
    assert "a.txt:2: too long a line, got 10 bytes and more" in refusal(tmp_path)
    (tmp_path / "a.txt").write_text("short\n" + "x" * 9)
    assert list(read_text_files(tmp_path)) == [["short", "x" * 9]]


def test_links_that_lead_nowhere_or_to_themselves_are_refused(tmp_path):
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone")
    assert "a.txt: cannot be read to its end, got No such file" in refusal(tmp_path)
    (tmp_path / "a.txt").unlink()
    (tmp_path / "a.txt").symlink_to(tmp_path / "a.txt")
    assert "a.txt: cannot be read to its end, got Too many levels" in refusal(tmp_path)
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.txt").write_text(TEXT)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(read_text_files(tmp_path)) == DOCUMENTS


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_refused(tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text(TEXT)
    (tmp_path / "closed").chmod(0)
    assert "closed: cannot be read, got no permission" in refusal(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "b.txt").chmod(0)
    assert describe_text_files(tmp_path) == ["reads 2 files"]
    assert "b.txt: cannot be read to its end, got Permission denied" in refusal(tmp_path)


def test_a_name_that_is_no_utf8_can_be_read_and_printed(tmp_path):
    for name in (b"caf\xe9.txt", b"caf\xe9.md", "né a.txt".encode()):
        (tmp_path / os.fsdecode(name)).write_text(TEXT)
    assert list(read_text_files(tmp_path)) == DOCUMENTS * 2
    for line in describe_text_files(tmp_path):
        line.encode()
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"\xff")
    refusal(tmp_path).encode()


PIECES = st.sampled_from(
    [b"a", b"b c", b"\n", b"\n\n", b"\r", b"\r\n", b" ", b"\t", b"\xc3\xa9", b"\xff", b"\0",
     b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0c", b"\x1c", b"\x1f\x8b", b"PK\x03\x04"]
)  # fmt: skip
CONTENTS = st.one_of(
    st.binary(max_size=100),
    st.lists(PIECES, max_size=12).map(b"".join),
    st.lists(PIECES, max_size=12).map(lambda pieces: gzip.compress(b"".join(pieces))),
)


@settings(deadline=None, max_examples=300)
@given(content=CONTENTS)
def test_any_bytes_give_every_word_or_one_line_that_says_why_not(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "a.txt").write_bytes(content)
    try:
        documents = list(read_text_files(folder))
    except InputError as error:
        assert len(error.problems) == len(error.problems[0].splitlines()) == 1
        return
    text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    words = text.decode("utf-8-sig").split()
    assert " ".join(" ".join(paragraphs) for paragraphs in documents).split() == words
    assert all(paragraph for paragraphs in documents for paragraph in paragraphs)
