"""Read the files that word vectors are published in: text of GloVe, word2vec or fastText.

A line is a word and its numbers, parted by spaces or tabs; `.gz` and `.zip` are read as they are.
Every line is read or named: empty ones may stand at the end alone.
"""

import codecs
import gzip
import lzma
import math
import re
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, cast

import numpy as np
import rich.progress

from tinybert.runtime.errors import InputError
from tinybert.text.word_vectors import WordVectors
from tinybert.text.wrong_files import BYTES_TO_JUDGE, describe_wrong_file

LINES_TO_JUDGE = 100  # the first lines of a file, which settle its dimension
MAX_PROBLEMS = 20  # lines of one file that are named before reading stops
SHOWN = 40  # characters of a wrong value that are shown
FLOAT32_MAX = float(np.finfo(np.float32).max)
TEXT, PACKED = (".txt", ".vec"), (".gz", ".zip")
PACKING_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
CONVERT = (
    "save it as text: gensim's KeyedVectors.load_word2vec_format(FILE, binary=True)"
    ".save_word2vec_format(TEXT_FILE)"
)
BINARIES = [  # first bytes, what they are of, what to do
    (rb"\xba\x16\x4f\x2f", "fastText's binary format", "take the .vec file beside it"),
    (rb"\x80[\x02-\x05]", "a pickle, as gensim's own format", "save it with save_word2vec_format"),
]


def read_text_vectors(path: Path, max_words: int | None = None) -> tuple[WordVectors, int]:
    """Read vectors from a GloVe, word2vec or fastText text file, one word a line.

    A word2vec header line (count, dimension) is recognised. The dimension is what most of the
    first lines have; the vector is a line's last fields, since words may hold spaces.

    Args:
        path: The file, plain or packed, or a folder with exactly one.
        max_words: Stop after so many distinct words; None reads all.

    Returns:
        The vectors, and the number of lines whose word stood earlier: the first one counts.

    Raises:
        InputError: Nothing there, or lines that are not a word and a finite vector; each line is
            named, up to MAX_PROBLEMS of them.
    """
    try:
        file = vector_file(path)
        with _opened(file) as stream:
            _require_text(file, stream.read(BYTES_TO_JUDGE))
        with _opened(file) as stream:
            return _read_lines(file, stream, max_words)
    except (*PACKING_ERRORS, NotImplementedError) as error:  # the last: zip's rarer features
        raise InputError(
            f"{path}: cannot be read to its end, got {error}; download it again, or unpack it"
        ) from error


def vector_file(path: Path) -> Path:
    """Return a file of word vectors, named by itself or by the folder that it alone stands in.

    Raises:
        InputError: There is none, or there are several.
    """
    if path.is_file():
        return path
    inside = sorted(path.iterdir()) if path.is_dir() else []
    names = [file.name for file in inside if not file.name.startswith(".")]
    found = [file for file in inside if file.suffix in TEXT + PACKED and file.is_file()]
    if len(found) != 1:
        got = ", ".join(names) or ("an empty folder" if path.is_dir() else "nothing")
        raise InputError(
            f"{path}: must be a file of word vectors, or a folder with one .txt, .vec, .gz or .zip "
            f"file, got {got}; put a GloVe file there, or name the file in sources.word_vectors of "
            "params.yaml"
        )
    return found[0]


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked if its first bytes say that it is packed."""
    with rich.progress.open(file, "rb", description=f"Reading {file.name}") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast(IO[bytes], unpacked)
        elif magic[:2] == b"PK":
            with zipfile.ZipFile(raw) as archive, archive.open(_member(file, archive)) as unpacked:
                yield unpacked
        else:
            yield raw


def _member(file: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
    found = [member for member in members if member.filename.endswith(TEXT)]
    if len(found) != 1:
        names = ", ".join(repr(member.filename) for member in found or members) or "nothing"
        raise InputError(
            f"{file}: must hold one .txt or .vec file, got {names}; unpack the one you want and "
            "name it in sources.word_vectors of params.yaml"
        )
    if found[0].flag_bits & 1:
        raise InputError(f"{file}: is encrypted, got a file with a password; unpack it first")
    return found[0]


def _require_text(file: Path, head: bytes) -> None:
    wanted = "write a word and its numbers on each line"
    if not head.strip():
        got = f"no word in the first {BYTES_TO_JUDGE} bytes" if head else "an empty file"
        raise InputError(f"{file}: holds no vectors, got {got}; {wanted}")
    binary = next(((what, cure) for magic, what, cure in BINARIES if re.match(magic, head)), None)
    if wrong := describe_wrong_file(head) or binary:
        what, cure = wrong
        raise InputError(f"{file}: holds no vectors as text, got {what}; {cure}")
    header = re.match(rb"\d+ \d+\r?\n", head)
    if b"\0" in head or (header and not _is_text(head[header.end() :])):
        what = "word2vec's binary format" if header else "a binary file"
        raise InputError(f"{file}: holds no vectors as text, got {what}; {CONVERT}")
    if re.search(rb"\r(?!\n|$)", head):
        raise InputError(
            f"{file}: wrong line ends, got a carriage return alone; convert it: "
            r"`tr '\r' '\n' < OLD > NEW`"
        )


def _is_text(head: bytes) -> bool:
    """Say whether bytes are a word and numbers: those of a binary vector are not printable."""
    _, _, numbers = head.split(b"\n")[0].partition(b" ")
    return bool(re.fullmatch(rb"[ -~\t\r]*", numbers))


def _read_lines(file: Path, lines: IO[bytes], max_words: int | None) -> tuple[WordVectors, int]:
    head = list(islice(lines, LINES_TO_JUDGE))
    head[:1] = [line.removeprefix(codecs.BOM_UTF8) for line in head[:1]]
    dimension, announced = _shape(file, head)
    first = 0 if announced is None else 1
    words: dict[str, None] = {}
    values = array("f")
    problems: list[str] = []
    num_lines = num_empty = 0
    for number, raw in enumerate(chain(head[first:], lines), 1 + first):
        if len(words) == max_words or len(problems) >= MAX_PROBLEMS:
            break
        if not raw.strip(b" \t\r\n"):
            num_empty += 1
            continue
        if num_empty:  # what is lost in the middle of a file may be more than its line end
            problems.append(
                f"{file}:{number - num_empty}: no word, got {num_empty} empty lines before line "
                f"{number}; remove them, or download the file again"
            )
            num_empty = 0
        num_lines += 1
        try:
            word, vector = _parse_line(raw, dimension)
        except ValueError as error:
            problems.append(f"{file}:{number}: {error}")
            continue
        if word not in words:
            words[word] = None
            values.extend(vector)
    else:
        if announced not in (None, num_lines):
            problems.append(
                f"{file}:1: the header says {announced} words, got {num_lines} lines of them; "
                f"download all of it, or write the header {num_lines} {dimension}"
            )
    if problems:
        for _ in lines:  # a packed file that is damaged says so at its end, which comes first
            pass
        raise InputError(*problems)
    vectors = np.frombuffer(values, dtype=np.float32).reshape(len(words), dimension)
    return WordVectors(list(words), vectors), num_lines - len(words)


def _shape(file: Path, head: list[bytes]) -> tuple[int, int | None]:
    """Return the dimension, and the number of words where the first line is a header."""
    fields = [re.split(rb"[ \t]+", line.strip(b" \t\r\n")) for line in head]
    widths = Counter(len(parts) - 1 for parts in fields[1:] if parts != [b""])
    first = fields[0]
    is_header = len(first) == 2 and all(re.fullmatch(rb"\d{1,12}", part) for part in first)
    if is_header and int(first[1]) in widths:
        return int(first[1]), int(first[0])
    if not is_header:
        widths[len(first) - 1] += 1
    dimension = widths.most_common(1)[0][0] if widths else 0
    if dimension < 1:
        mark = next((m for m in (b",", b";", b"|") if len(head[-1].split(m)) > 2), b"")
        got = f"{mark.decode()!r} between the fields" if mark else f"{len(head)} lines without any"
        raise InputError(
            f"{file}: holds no vectors, got {got}; write a word and its numbers on each line, "
            "parted by spaces or tabs"
        )
    if is_header and dimension > 1:
        raise InputError(
            f"{file}:1: the header says dimension {int(first[1])}, got {dimension} numbers a line; "
            "correct the header, or download the file again"
        )
    return dimension, None


def _parse_line(raw: bytes, dimension: int) -> tuple[str, list[float]]:
    """Return a line's word and vector, or raise a ValueError that says what is wrong."""
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = f"byte {raw[error.start]:#04x}"
        cure = "convert the file: `iconv -f LATIN1 -t UTF-8`"
        raise ValueError(f"is not UTF-8, got {bad}; {cure}") from error
    # Space and tab alone separate: GloVe's words include other white space, as non-breaking one.
    line = re.sub("[ \t]+", " ", line.strip(" \t\r\n"))
    word, *fields = line.rsplit(" ", dimension)
    _, space, last = word.rpartition(" ")
    # A word that ends in a number after a space is a vector that is too long.
    if len(fields) < dimension or not word or (space and _finite(last) is not None):
        got = line.count(" ")
        raise ValueError(f"wrong width, got {got} values; write a word and {dimension} numbers")
    vector = [_finite(field) for field in fields]
    if None in vector:
        bad = fields[vector.index(None)][:SHOWN]
        raise ValueError(f"wrong value, got {bad!r}; write a finite number, as -0.25 or 1e-05")
    return word, [value for value in vector if value is not None]


def _finite(field: str) -> float | None:
    try:
        value = float(field)
    except ValueError:
        return None
    known = math.isfinite(value) and abs(value) <= FLOAT32_MAX
    return value if known and "_" not in field else None  # Python reads 1_0 as 10
