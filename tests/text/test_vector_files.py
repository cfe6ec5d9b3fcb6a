"""Vector files as people have them: packed, with empty last lines, tabs, headers, or no vectors."""

import gzip
import io
import random
import struct
import tarfile
import zipfile
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.word_vectors import make_word_vectors
from tests.fixtures.refused import problems_of
from tests.fixtures.vectors import stored, written
from tinybert.runtime.errors import InputError
from tinybert.text.sections import WordVectorsSettings
from tinybert.text.vector_files import read_text_vectors

PLAIN = "a 1 2\nb 3 4\nc 5 6\n"
problems = partial(problems_of, read_text_vectors)


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    assert read_text_vectors(written(tmp_path, "\ufeffa 1 2\nb 1 2\n"))[0].words == ["a", "b"]


def test_words_may_hold_spaces_and_odd_white_space(tmp_path):
    text = "a 1 2\n. . . 3 4\nat name@domain.com 5 6\n\u00a0 7 8\n\u0085 9 10\n\u2028 11 12\n"
    found, _ = read_text_vectors(written(tmp_path, text))
    words = ["a", ". . .", "at name@domain.com", "\u00a0", "\u0085", "\u2028"]
    assert found.words == words
    assert found.vectors[:, 0].tolist() == [1, 3, 5, 7, 9, 11]
    folder = tmp_path / "stored"
    folder.mkdir()
    assert stored(folder, found.words, found.vectors).index_to_key == words


def test_the_first_of_repeated_words_wins_and_the_others_are_counted(tmp_path):
    found, duplicates = read_text_vectors(written(tmp_path, "a 1 2\nb 3 4\na 5 6\na 7 8\n"))
    assert found.words == ["a", "b"]
    assert found.vectors[0].tolist() == [1, 2]
    assert duplicates == 2


def test_no_more_than_max_words_are_read(tmp_path):
    found, _ = read_text_vectors(written(tmp_path, "9 2\na 1 2\na 1 2\nb 3 4\nc 5 x\n"), 2)
    assert found.words == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"b 1", "wrong width, got 1 values"),
        (b"b 1 2 3", "wrong width, got 3 values"),
        (b"c 1_0 2", "wrong value, got '1_0'"),
        (b"c 0,5 2", "wrong value, got '0,5'"),
        (b"b 1 x", "wrong value, got 'x'"),
        (b"b nan 1", "wrong value, got 'nan'"),
        (b"b 1 -inf", "wrong value, got '-inf'"),
        (b"b 1 1e39", "wrong value, got '1e39'"),  # float32 ends at 3.4e38
        (b"b\xff 1 2", "is not UTF-8, got byte 0xff"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line, reason):
    file = written(tmp_path, b"a 1 2\nc 1 2\n" + line + b"\nd 1 2\n")
    (problem,) = problems(file)
    assert problem.startswith(f"{file}:3: {reason}")


def test_all_bad_lines_are_named_and_a_header_does_not_shift_the_numbers(tmp_path):
    file = written(tmp_path, "4 2\na 1 2\nb 1\nc 1 2\nd 1 x\n")
    assert [problem.split(" ")[0] for problem in problems(file)] == [f"{file}:3:", f"{file}:5:"]


def test_a_folder_must_hold_exactly_one_vector_file(tmp_path):
    assert "got an empty folder" in problems(tmp_path)[0]
    (tmp_path / ".gitkeep").touch()
    (tmp_path / "a.vec").write_text("a 1 2\nb 1 2\n")
    assert read_text_vectors(tmp_path)[0].words == ["a", "b"]
    (tmp_path / "b.txt").write_text("a 1 2\n")
    assert "got a.vec, b.txt" in problems(tmp_path)[0]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN + "\n",
        PLAIN + "\n \n\t\r\n",
        PLAIN[:-1],
        PLAIN.replace(" ", "\t"),
        PLAIN.replace(" ", "  "),
        PLAIN.replace(" ", " \t "),
        PLAIN.replace("\n", " \n"),
        PLAIN.replace("\n", "\t\r\n"),
        "3 2\n" + PLAIN,
        "3\t2\n" + PLAIN,
        "3 2\n" + PLAIN + "\n",
        "\ufeff3 2\r\n" + PLAIN,
        "a +1 2.\nb 3e0 4E+00\nc 50e-1 06\n",
    ],
)
def test_a_header_empty_last_lines_tabs_and_wide_gaps_change_nothing(tmp_path, text):
    found, duplicates = read_text_vectors(written(tmp_path, text))
    assert found.words == ["a", "b", "c"]
    np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4], [5, 6]])
    assert found.vectors.dtype == np.float32
    assert duplicates == 0


def test_empty_lines_before_a_word_are_refused_with_their_numbers(tmp_path):
    file = written(tmp_path, "a 1 2\n\n \nb 3 4\n\nc 1 2\n\n")
    cure = "remove them, or download the file again"
    assert problems(file) == (
        f"{file}:2: no word, got 2 empty lines before line 4; {cure}",
        f"{file}:5: no word, got 1 empty lines before line 6; {cure}",
    )


def zipped(path, members, password=False):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    if password:  # the bit that says so, in the member's header and in the archive's list
        raw = bytearray(path.read_bytes())
        raw[6] |= 1
        raw[raw.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(raw)
    return path


@pytest.mark.parametrize("name", ["glove.txt.gz", "glove.gz", "glove.txt"])
def test_a_gzip_file_is_read_whatever_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(PLAIN.encode()))
    for path in (tmp_path / name, tmp_path):
        assert read_text_vectors(path)[0].words == ["a", "b", "c"]


def test_a_zip_file_with_one_file_of_vectors_is_read(tmp_path):
    zipped(tmp_path / "glove.zip", {"a/a.vec": PLAIN, "README": "x", "__MACOSX/a/._a.vec": "x"})
    for path in (tmp_path / "glove.zip", tmp_path):
        assert read_text_vectors(path)[0].words == ["a", "b", "c"]


def test_of_a_zip_file_with_several_each_is_named(tmp_path):
    (problem,) = problems(zipped(tmp_path / "a.zip", {"g50.txt": PLAIN, "g100.txt": PLAIN}))
    assert "got 'g50.txt', 'g100.txt'; unpack the one you want" in problem
    (problem,) = problems(zipped(tmp_path / "a.zip", {"model.bin": PLAIN}))
    assert "must hold one .txt or .vec file, got 'model.bin'" in problem
    assert "got nothing" in problems(zipped(tmp_path / "a.zip", {}))[0]


def test_a_zip_file_with_a_password_is_refused(tmp_path):
    assert "is encrypted" in problems(zipped(tmp_path / "a.zip", {"a.txt": PLAIN}, True))[0]


def test_packed_files_that_are_cut_off_or_damaged_are_refused(tmp_path):
    words = "".join(f"w{random.Random(n).random()} 1 2\n" for n in range(2000))
    whole = gzip.compress(words.encode())
    zip_file = zipped(tmp_path / "a.zip", {"a.txt": words})
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    for name, content in [
        ("cut.txt.gz", whole[: len(whole) // 2]),
        ("checksum.txt.gz", whole[:-8] + bytes(8)),
        ("damaged.gz", damaged),
        ("cut.zip", zip_file.read_bytes()[:5000]),
    ]:
        (tmp_path / name).write_bytes(content)
        (problem,) = problems(tmp_path / name)
        assert "cannot be read to its end" in problem and "download it again" in problem


def test_a_tar_archive_in_gzip_is_named(tmp_path):
    written(tmp_path, PLAIN)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "vectors.txt", "vectors.txt")
    assert "got a tar archive; unpack it" in problems(tmp_path / "a.tar.gz")[0]


@pytest.mark.parametrize(
    ("content", "got", "cure"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html lang=en>\n", "a web page", "download the file"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "a web page", "download"),
        (PLAIN.encode("utf-16"), "UTF-16", "iconv"),
        (b"2 3\na " + struct.pack("3f", 0.3, -1.7, 3e8) + b"\nb ", "word2vec's binary", "gensim"),
        (b"2 3\na " + b"\x9a\x99\x99\x3e" * 3 + b"\nb ", "word2vec's binary format", "gensim"),
        (bytes([0xBA, 0x16, 0x4F, 0x2F, 12, 0, 0, 0]), "fastText's binary format", ".vec"),
        (b"\x80\x04\x95\x00\x00", "a pickle", "save_word2vec_format"),
        (b"BZh91AY&SY", "a packed file", "unpack"),
        (bytes(5000), "a binary file", "gensim"),
        (b"\x93NUMPY\x01\x00v\x00", "a binary file", "gensim"),
        (b"a 1 2\rb 3 4\rc 5 6\r", "a carriage return alone", "tr "),
        (b" \n\n", "no word in the first", "write a word"),
        (b"3 2\n", "1 lines without any", "write a word and its numbers"),
        (b"a,1,2\nb,3,4\n", "',' between the fields", "parted by spaces or tabs"),
        (b"3 3\na 1 2\nb 3 4\nc 5 6\n", "2 numbers a line", "correct the header"),
        (b'{"a": [1, 2],\n"b": [3, 4]}\n', "", ""),
        (b"# a\n# b\n", "", ""),
        (b"", "holds no vectors", ""),
        (b"word\nother\n", "holds no vectors", ""),
    ],
)
def test_what_is_no_file_of_vectors_is_named_with_its_cure(tmp_path, content, got, cure):
    (problem, *_) = problems(written(tmp_path, content))
    assert got in problem and cure in problem and "\n" not in problem


@pytest.mark.parametrize(("announced", "there"), [(2, 3), (4, 3), (5, 2)])
def test_a_header_of_another_number_is_refused_with_the_right_one(tmp_path, announced, there):
    lines = PLAIN.splitlines(keepends=True)[:there]
    (problem,) = problems(written(tmp_path, "".join([f"{announced} 2\n", *lines])))
    assert f"the header says {announced} words, got {there} lines of them" in problem
    assert f"header {there} 2" in problem


def test_a_folder_that_links_to_itself_and_a_missing_path_are_refused(tmp_path):
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    assert "got loop.txt" in problems(tmp_path)[0]
    assert "got nothing" in problems(tmp_path / "nowhere")[0]


def test_the_stage_reads_a_packed_file_and_says_what_it_leaves_out(tmp_path, capsys):
    (tmp_path / "glove.txt.gz").write_bytes(gzip.compress(PLAIN.encode()))
    read = WordVectorsSettings(
        source="file", max_words=None, vector_size=1, window=1, min_count=1, num_epochs=1
    )
    assert make_word_vectors(read, tmp_path, tmp_path, 0, tmp_path / "out") == 3
    assert "3 words of 2 numbers, 0 repeated ones dropped\n" in capsys.readouterr().out
    few = read.model_copy(update={"max_words": 2})
    assert make_word_vectors(few, tmp_path, tmp_path, 0, tmp_path / "few") == 2
    assert "dropped, the rest is left out: word_vectors.max_words" in capsys.readouterr().out
    assert (tmp_path / "out" / "words.txt").read_text() == "a\nb\nc\n"


FIELDS = st.sampled_from(
    [b"a", b"b", b"1", b"2", b"-0.5", b"1e-5", b"nan", b"3 2", b". .", b"\xc3\xa9", b"\xff", b"",
     b"\r", b"\t", b"\xc2\xa0", b"\xef\xbb\xbf", b"\0", b"1_0"]
)  # fmt: skip
LINES = st.lists(FIELDS, max_size=4).map(b" ".join)
FILES = st.one_of(
    st.binary(max_size=200),
    st.lists(LINES, max_size=6).map(b"\n".join),
    st.lists(LINES, max_size=6).map(lambda lines: gzip.compress(b"\n".join(lines))),
    st.binary(max_size=60).map(lambda end: b"PK\x03\x04" + end),
    st.binary(max_size=60).map(lambda end: b"\x1f\x8b\x08" + end),
    st.tuples(st.integers(0, 150), st.binary(min_size=1, max_size=4)).map(lambda at: spoilt(*at)),
)


def spoilt(place, change):
    """Return a zip file with some bytes overwritten."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", PLAIN)
    raw = bytearray(stream.getvalue())
    raw[place : place + len(change)] = change
    return bytes(raw)


@settings(deadline=None, max_examples=300)
@given(content=FILES)
def test_any_bytes_give_every_word_or_lines_that_say_why_not(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("fuzz") / "vectors"
    file.write_bytes(content)
    try:
        found, num_repeated = read_text_vectors(file)
    except InputError as error:
        assert all(problem and len(problem.splitlines()) == 1 for problem in error.problems)
        return
    text = content
    if content[:2] == b"\x1f\x8b":
        text = gzip.decompress(content)
    elif content[:2] == b"PK":
        text = PLAIN.encode()
    every = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    lines = [line for line in every if line.strip(b" \t\r")]
    num_headers = len(lines) - len(found.words) - num_repeated
    assert num_headers == 0 or (num_headers == 1 and int(lines[0].split()[0]) == len(lines) - 1)
    assert found.vectors.shape[0] == len(set(found.words)) == len(found.words) > 0
