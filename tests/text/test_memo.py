"""Extracted documentation is kept on disk until the sources or the code change."""

import multiprocessing
import time

from tinybert.text.embedded import docstrings
from tinybert.text.embedded.docstrings import Document, memo_file, read_memo, write_memo


def run_together(number, target, place):
    """Run a function in processes that share a barrier; return their exit codes."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(number)
    processes = [spawn.Process(target=target, args=(place, barrier)) for _ in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def test_what_is_written_is_what_is_read(tmp_path):
    first = Document("numpy", "a.py:f", ("One “quoted” line.", "Two."))
    documents = (first, Document("scipy", "b.py:g", ()))
    file = tmp_path / "deep" / "memo.jsonl"
    write_memo(file, documents)
    assert read_memo(file) == documents


def test_a_changed_source_has_another_memo_and_an_unchanged_one_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    source = tmp_path / "a.py"
    source.write_text("'''One.'''")
    files = [("lib", tmp_path, source)]
    first = memo_file(files)
    assert memo_file(files) == first
    assert first.parent == tmp_path / "checkpoints" / "embedded"
    source.write_text("'''Another.'''")
    assert memo_file(files) != first


def test_processes_that_write_one_memo_at_once_leave_it_whole(tmp_path):
    """Six writers held at one barrier: whoever ends last wins, nobody fails."""
    file = tmp_path / "memo.jsonl"
    assert run_together(6, write_together, file) == [0] * 6
    assert read_memo(file) == tuple(Document("numpy", str(row), ("text",)) for row in range(20))
    assert list(tmp_path.iterdir()) == [file]


def write_together(file, barrier):
    def documents():
        for row in range(20):
            barrier.wait()  # all have begun, none has ended
            yield Document("numpy", str(row), ("text",))

    write_memo(file, documents())


def test_of_processes_that_need_the_text_at_once_one_makes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert run_together(3, read_together, tmp_path) == [0] * 3
    assert (tmp_path / "made").read_text() == "made\n"


def read_together(folder, barrier):
    def extract(_files):
        with (folder / "made").open("a") as log:
            log.write("made\n")
        time.sleep(1)
        yield "numpy", "a.py:f", [["One sentence of it."]]

    docstrings.LIBRARIES, docstrings._extract = ("rich/_unicode_data",), extract
    barrier.wait()
    (document,) = docstrings.documents()
    assert document.paragraphs == ("One sentence of it.",)
