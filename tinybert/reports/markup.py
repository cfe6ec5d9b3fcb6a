"""Write a user's text, such as a label, into Markdown and LaTeX, where characters have a meaning.

HTML is escaped by the template itself, JSON, YAML and CSV by their writers.
"""

import re
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
TEX_WORDS = {
    "\\": r"\textbackslash{}",
    "\N{EN DASH}": "--",
    "\N{PLUS-MINUS SIGN}": r"\ensuremath{\pm}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a row's end it would begin a length
}
# Marks that turn the direction of what follows them are among what cannot be printed.
# An underscore inside a word is a character like any other.
MARKDOWN = re.compile(r"[\\`*|<>\[\]~]|(?<![^\W_])_|_(?![^\W_])")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: object) -> str:
    """Return a text on one line: white space as one space, what cannot be printed as its escape."""
    return _escaped(" ".join(str(text).split()))


def printable(text: str) -> str:
    """Return a text of several lines with what cannot be printed as its escape."""
    return "\n".join(map(_escaped, text.split("\n")))


def _escaped(text: str) -> str:
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def fenced(text: str, language: str) -> str:
    """Return a text as a block of code of Markdown, whose fence no line of the text ends."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def tex(text: object) -> str:
    """Return a text as LaTeX prints it."""
    return "".join(TEX_WORDS.get(character, character) for character in one_line(text))


def markdown(text: object) -> str:
    """Return a text as Markdown shows it, in a cell of a table as well."""
    return MARKDOWN.sub(lambda found: "\\" + found[0], one_line(text))


def code(text: object) -> str:
    """Return a text as code inside a line of Markdown."""
    line = one_line(text)
    ticks = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if "`" in line or not line else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def fill_template(template: str, **values: Any) -> str:
    """Fill a file of templates/, which has this module's functions as filters."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=template.endswith(".html.j2"),  # sentences and labels are the user's text
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (code, fenced, markdown, one_line, tex)
    environment.filters |= {each.__name__: each for each in filters}
    return environment.get_template(template).render(**values)
