"""Turn text files, a hub data set or the embedded documentation into blocks of token ids.

python -m stages.prepare_corpus
"""

import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from rich.progress import track

from stages import run
from tinybert.encoders.checkpoints import load_config, load_tokenizer
from tinybert.encoders.positions import require_positions
from tinybert.encoders.teacher_source import TeacherSource, locate_teacher
from tinybert.runtime.errors import InputError
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_folder
from tinybert.settings.reader import read_param, read_section
from tinybert.text.corpus import limit_words, read_hub, write_corpus
from tinybert.text.files import describe_text_files, read_text_files
from tinybert.text.sections import PrepareCorpusSettings
from tinybert.text.shards import Document

CORPUS = Path("data/corpus")
# Of all word pieces; English text has fewer by far (see `tinybert.text.corpus.MOST_UNKNOWN`).
MUCH_UNKNOWN = 0.05
# A word. English Wikipedia in BERT's vocabulary has 1.33; English pieces make 2.4 of a German word,
# 3.9 of a Finnish and 6.5, single letters, of a Russian one (measured, on a sentence each).
MANY_PIECES = 3.0
# In UTF-8, the space too: Russian has 15. Where no spaces are written, words are sentences.
LONGEST_WORDS = 40
LARGE_DOCUMENT = 100_000  # words on average, of a book; held in memory and taken as a whole


def prepare_corpus(
    documents: Iterable[Document],
    tokenizer_folder: Path,
    settings: PrepareCorpusSettings,
    seed: int,
    folder: Path,
) -> dict[str, int]:
    """Write text and token blocks to `folder`; return their counts.

    Side effects: Finished shards stand in `checkpoints/prepare_corpus` until `folder` is in place.
    """
    limited = limit_words(documents, settings.max_words)
    bar = track(limited, "documents", transient=True)
    tokenizer = load_tokenizer(tokenizer_folder)
    # What shards depend on beside their text, which their own names hash.
    read = {"settings": settings.model_dump(), "seed": seed, "tokenizers": version("tokenizers")}
    read |= {"tokenizer": tokenizer.backend_tokenizer.to_str()}
    shards = checkpoints_folder("prepare_corpus", read, [])
    with replace_folder(folder) as partial:
        counts = write_corpus(bar, tokenizer, settings.block_length, seed, partial, shards)
    shutil.rmtree(shards, ignore_errors=True)
    return counts


def find_documents(settings: PrepareCorpusSettings, files: Path) -> Iterable[Document]:
    """Return the source's documents; say which files are read and which are not."""
    if settings.source == "files":
        for line in describe_text_files(files):
            print(f"{files}: {line}", flush=True)
        return read_text_files(files)
    if settings.source == "hub":
        if (hub := settings.hub) is None:
            raise InputError(
                "prepare_corpus.hub: missing, got null with source: hub; write path, name, split "
                "and column of a data set, or take source: files"
            )
        return read_hub(hub.path, hub.name, hub.split, hub.column)
    from tinybert.text.embedded.docstrings import documents

    return (document.paragraphs for document in documents())


def main() -> str:
    """Read the settings and prepare the corpus."""
    settings = read_section("prepare_corpus", PrepareCorpusSettings)
    source = read_section("teacher", TeacherSource)
    teacher = locate_teacher(source, Path(read_param("sources.teacher", str)))
    length_of = "prepare_corpus.block_length"
    require_positions(settings.block_length, load_config(teacher), length_of)
    documents = find_documents(settings, Path(read_param("sources.corpus", str)))
    seed = read_param("seed", int)
    counts = prepare_corpus(documents, teacher, settings, seed, CORPUS)
    for doubt in find_doubts(counts, (CORPUS / "text.txt").stat().st_size):
        print(f"doubt: {doubt}", flush=True)
    return f"made {describe(counts, settings)} in {CORPUS}"


def find_doubts(counts: dict[str, int], num_bytes: int) -> list[str]:
    """Say what looks wrong: text in another language than the teacher's, text without documents.

    Args:
        counts: Of `write_corpus`.
        num_bytes: Of the text.
    """
    words, tokens, unknown = counts["num_words"], counts["num_tokens"], counts["num_unknown"]
    cure = "take a teacher whose vocabulary knows this text (teacher.source), or remove what is in "
    cure += "another language"
    doubts = []
    if unknown > MUCH_UNKNOWN * tokens:
        doubts.append(
            f"much text is unknown to the teacher, got {unknown:,} of {tokens:,} word pieces; "
            f"{cure}"
        )
    elif tokens > MANY_PIECES * words and num_bytes < LONGEST_WORDS * words:
        doubts.append(
            f"the text is cut into pieces without meaning, got {tokens / words:.1f} word pieces a "
            f"word where text in the teacher's language has 1 to 2; {cure}"
        )
    if words > LARGE_DOCUMENT * counts["num_documents"]:
        doubts.append(
            f"no blank lines part documents, got {words:,} words in {counts['num_documents']:,}; "
            "each is held in memory, max_words cannot cut it, and text of different documents is "
            "taken as one going on: put a blank line between documents"
        )
    return doubts


def describe(counts: dict[str, int], settings: PrepareCorpusSettings) -> str:
    """Say in numbers what was made of what."""
    stopped = settings.max_words is not None and counts["num_words"] >= settings.max_words
    return (
        f"{counts['num_blocks']:,} blocks of {settings.block_length} tokens from "
        f"{counts['num_documents']:,} documents, {counts['num_words']:,} words "
        f"of {counts['num_tokens'] / counts['num_words']:.2f} word pieces "
        f"({counts['num_tokens_left']} tokens filled no block"
        f"{', the rest is left out: prepare_corpus.max_words' if stopped else ''})"
    )


if __name__ == "__main__":
    run(main)
