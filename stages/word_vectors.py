"""Make the word vectors that augmentation takes neighbours from.

python -m stages.word_vectors
"""

from pathlib import Path

from stages import run
from tinybert.runtime.outputs import replace_folder
from tinybert.settings.reader import read_param, read_section
from tinybert.text.sections import WordVectorsSettings
from tinybert.text.vector_files import read_text_vectors
from tinybert.text.word_vectors import save_vectors, train_vectors

CORPUS = Path("data/corpus/text.txt")
OUTPUT = Path("data/word_vectors")


def make_word_vectors(
    settings: WordVectorsSettings, file: Path, corpus: Path, seed: int, output: Path
) -> int:
    """Read or train word vectors, write a folder of them and return the number of words."""
    if settings.source == "file":
        found, num_duplicates = read_text_vectors(file, settings.max_words)
        stopped = len(found.words) == settings.max_words
        print(
            f"{file}: {len(found.words):,} words of {found.vectors.shape[1]} numbers, "
            f"{num_duplicates:,} repeated ones dropped"
            f"{', the rest is left out: word_vectors.max_words' if stopped else ''}"
        )
    else:
        options = settings.model_dump(exclude={"source"})
        found = train_vectors(corpus, **options, seed=seed)
    with replace_folder(output) as folder:
        save_vectors(folder, found, settings.source)
    return len(found.words)


def main() -> str:
    """Make data/word_vectors, empty where nothing is augmented."""
    if not read_section("augment.num_copies", int):
        with replace_folder(OUTPUT):
            pass
        return f"made nothing in {OUTPUT}, since augment.num_copies is 0"
    count = make_word_vectors(
        read_section("word_vectors", WordVectorsSettings),
        Path(read_param("sources.word_vectors", str)),
        CORPUS,
        read_param("seed", int),
        OUTPUT,
    )
    return f"made vectors of {count:,} words in {OUTPUT}"


if __name__ == "__main__":
    run(main)
