"""Corpora of several sizes are prepared as asked, and one that was killed ends as the others."""

import sys

import pytest

from benchmarks import corpus_size
from benchmarks.corpus_size import documents

LINES = [f"the {number} words of this line are all that it has ." for number in range(200)]
SIZE = sum(len(line) + 1 for line in LINES)  # bytes


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "all.txt").write_text("\n\n".join(LINES))  # a document a line
    return folder


def test_text_is_read_again_until_there_is_as_much_as_asked(corpus):
    assert len(list(documents(corpus, (SIZE + len(LINES)) / 1e6))) == len(LINES)
    assert len(list(documents(corpus, 2.5 * (SIZE + len(LINES)) / 1e6))) > 2 * len(LINES)


@pytest.mark.slow
def test_a_killed_process_leaves_shards_and_ends_with_the_same_files(corpus, monkeypatch, capfd):
    sizes = ["--megabytes", "0.1,13"]  # shards are of 4
    command = ["corpus_size", "--corpus", str(corpus), *sizes, "--kill"]
    monkeypatch.setattr(sys, "argv", command)
    corpus_size.main()
    small, large, killed = capfd.readouterr().out.strip().splitlines()[-3:]
    assert small.startswith("0.1 MB: ") and "shards found 0" in small
    assert large.startswith("13 MB: ") and "shards found 0" in large
    assert killed.startswith("13 MB killed and begun again: ") and "shards found 0" not in killed
    assert killed.endswith("same files: True")
