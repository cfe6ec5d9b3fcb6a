"""Tell plain sentences, which a stranger can read, from those about names in the code."""

import re

# What tells the package, rather than what is done with it.
PACKAGE_NAMES = re.compile(
    r"num_?py|scipy|pandas|scikit|sklearn|torch|matplotlib|pyplot|pylab|sym_?py|networkx"
    r"|transformers|hugging ?face|sqlalchemy|alembic|ndarray|dataframe|flask|werkzeug|starlette"
    r"|aiohttp|urllib3|graphviz|websockets|jinja|\b(?:mpl|np|pd|plt|nx|sa|nn|hf|orm|xla)\b",
    re.IGNORECASE,
)
IDENTIFIER = re.compile(r"_|\w\.\w*[A-Za-z]|[a-z][A-Z]|[A-Z][a-z]+[A-Z]")
ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e)\.")


def is_plain(sentence: str) -> bool:
    """Say whether a sentence names no package and holds no identifier."""
    spelt_out = ABBREVIATION.sub("", sentence)
    return not PACKAGE_NAMES.search(sentence) and not IDENTIFIER.search(spelt_out)


def num_words(*sentences: str) -> int:
    """Count the words of sentences."""
    return sum(len(sentence.split()) for sentence in sentences)
