"""Names of the code in sentences of documentation, as the documentation marks them.

reStructuredText and numpydoc put names of the code in backquotes, and roles say of which kind they
are. The marks are taken out, so that a name is told by what stands around it: `axis` in "If axis is
None" is a parameter, and in "along one axis" a word. The types are

- PARAMETER: a name that the docstring's own list of parameters has;
- VALUE: None, True, False, NaN, inf, or a string's content;
- FUNCTION: of the roles func and meth, or with brackets after it, which are taken out too;
- CLASS: of the roles class and exc, or in CamelCase.

Sentences are left out in which something else is marked, or in which a name that is told by its
spelling, or a value, is not marked: their tags would be wrong.
"""

import random
import re
from collections.abc import Iterator
from functools import lru_cache

from rich.progress import track

from tinybert.tasks.embedded.passages import IDENTIFIER, Row, Span
from tinybert.tasks.embedded.splits import all_sentences
from tinybert.text.embedded.copies import CopyFilter
from tinybert.text.embedded.docstrings import Document, docstrings, source_files
from tinybert.text.embedded.prose import DROP, is_prose, paragraphs, plain_text, split_sentences

# Packages that mark names and list parameters.
NAMING = (
    *("numpy", "scipy", "sklearn", "pandas", "torch", "matplotlib", "networkx", "sqlalchemy"),
    *("alembic", "werkzeug", "flask", "starlette"),
)
MIN_WORDS, MAX_WORDS = 6, 30
# A character after a name says its type; they are for private use, and in no docstring.
MARKS = {"PARAMETER": "\ue000", "VALUE": "\ue001", "FUNCTION": "\ue002", "CLASS": "\ue003"}
MARKED = re.compile(r"([\w.+-]*\w)([\ue000-\ue003])")
TYPES = {mark: name for name, mark in MARKS.items()}
TURNS = ("CLASS", "FUNCTION", "VALUE", "PARAMETER", "")  # the rarest first; "" for no name

ROLE = re.compile(r":(?:py:)?(\w+):`([^`]*)`")
QUOTED = re.compile(r"(?<![`\w])(`{1,2})([^`]+)\1(?![`\w])_{0,2}")
ROLES = {"func": "FUNCTION", "meth": "FUNCTION", "class": "CLASS", "exc": "CLASS"}
ROLES["paramref"] = "PARAMETER"  # SQLAlchemy's
LITERAL = re.compile(r"None|True|False|NaN|nan|inf")
STRING = re.compile(r"(['\"])(\w+)\1")
CAMEL = re.compile(r"(?:[A-Z][a-z0-9]+){2,}")
NAME = re.compile(r"[A-Za-z_]\w*")
PARAMETERS = re.compile(
    r"^(?:Other )?Parameters\n-{3,}\n(.*?)(?=^\w[\w ]*\n-{3,}$|\Z)", re.M | re.S
)
PARAMETER = re.compile(r"^\*{0,2}([A-Za-z_]\w*(?:, *\*{0,2}[A-Za-z_]\w*)*) *(?::|$)", re.M)
SPHINX = re.compile(r"^\s*:param (?:[\w.\[\], ]+ )?\*{0,2}(\w+):", re.M)
GOOGLE = re.compile(r"^(?:Args|Arguments):\n((?:[ ]+.*\n|\n)+)", re.M)
ARGUMENT = re.compile(r"^ {1,4}\*{0,2}`?([A-Za-z_]\w*)`?(?: \([^\n]*\))?:", re.M)
# A value, a string in quotes, or a single letter, which names something but for a, A and I.
UNMARKED = re.compile(r"\b(?:None|True|False|NaN|nan|[b-zB-HJ-Z])\b|(?<!\w)['\"]|\(\)")


@lru_cache(maxsize=1)
def named_documents() -> tuple[Document, ...]:
    """Return the sentences that can be tagged, by docstring, with a mark after each name.

    Near copies are left out. It takes half a minute.
    """
    copies = CopyFilter()
    found = []
    files = [source for source in source_files() if source[0] in NAMING]
    for library, parent, file in track(files, "reading names", transient=True):
        place = file.relative_to(parent).as_posix()
        for name, text in docstrings(file):
            runs = [[sentence] for sentence in _marked_sentences(text)]
            if kept := copies.keep(runs):
                found.append(Document(library, f"{place}:{name}", tuple(map(" ".join, kept))))
    return tuple(found)


def _marked_sentences(docstring: str) -> Iterator[str]:
    names = parameter_names(docstring)
    for paragraph in paragraphs(docstring):
        marked = plain_text(mark_names(paragraph, names))
        for sentence in split_sentences(marked):
            plain, words = without_marks(sentence), len(sentence.split())
            if MIN_WORDS <= words <= MAX_WORDS and is_prose(plain) and not _is_lacking(sentence):
                yield sentence


def _is_lacking(sentence: str) -> bool:
    """Say whether a name or a value stands there without a mark."""
    left = MARKED.sub("", sentence)
    return bool(IDENTIFIER.search(left) or UNMARKED.search(left))


def parameter_names(docstring: str) -> set[str]:
    """Return the names in a docstring's lists of parameters: numpydoc's, Sphinx' or Google's."""
    lists = PARAMETERS.findall(docstring)
    groups = [group for text in lists for group in PARAMETER.findall(text)]
    names = {name.strip(" *") for group in groups for name in group.split(",")}
    arguments = [
        name for text in GOOGLE.findall(f"{docstring}\n") for name in ARGUMENT.findall(text)
    ]
    return {*names, *SPHINX.findall(docstring), *arguments}


def mark_names(paragraph: str, names: set[str]) -> str:
    """Replace each marked name by itself and the character of its type.

    What is no name of any type is replaced by what keeps its sentence out.
    """
    text = re.sub(f"[{''.join(MARKS.values())}]", DROP, paragraph)
    text = ROLE.sub(lambda found: _of_role(found[1], found[2]), text)
    return QUOTED.sub(lambda found: _of_quotes(found[2].strip(), names), text)


def _of_role(role: str, content: str) -> str:
    name = content.strip("~!.").removesuffix("()").rsplit(".", 1)[-1]
    if role not in ROLES or not NAME.fullmatch(name):
        return DROP
    return name + MARKS[ROLES[role]]


def _of_quotes(content: str, names: set[str]) -> str:
    if content in names:
        return content + MARKS["PARAMETER"]
    if LITERAL.fullmatch(content):
        return content + MARKS["VALUE"]
    if found := STRING.fullmatch(content):
        return found[2] + MARKS["VALUE"]
    if content.endswith("()") and NAME.fullmatch(content[:-2]):
        return content[:-2] + MARKS["FUNCTION"]
    return content + MARKS["CLASS"] if CAMEL.fullmatch(content) else DROP


def without_marks(sentence: str) -> str:
    """Return a sentence as it is read."""
    return re.sub(f"[{''.join(TYPES)}]", "", sentence)


def spans_of(sentence: str) -> list[Span]:
    """Return the names in a marked sentence by their places in the one without marks."""
    spans: list[Span] = []
    for taken_out, found in enumerate(MARKED.finditer(sentence)):
        start = found.start() - taken_out
        end = start + len(found[1])
        spans.append({"start": start, "end": end, "label": TYPES[found[2]]})
    return spans


def name_rows(found: list[Document], rng: random.Random) -> list[Row]:
    """Return sentences with the names in them.

    Sentences whose rarest type is each of `TURNS` come in turn, those of a type as long as it has
    some: so the first rows are the most balanced ones, and at least as many have no name as have
    any one type alone.
    """
    groups: dict[str, list[str]] = {name: [] for name in TURNS}
    for sentence in all_sentences(found):
        types = {span["label"] for span in spans_of(sentence)}
        groups[next((name for name in TURNS if name in types), "")].append(sentence)
    for group in groups.values():
        rng.shuffle(group)
    rows: list[Row] = []
    while any(groups[name] for name in TURNS if name):
        left = [name for name in TURNS if groups[name]]
        for name in rng.sample(left, len(left)):
            sentence = groups[name].pop()
            rows.append({"sentence1": without_marks(sentence), "label": spans_of(sentence)})
    return rows
