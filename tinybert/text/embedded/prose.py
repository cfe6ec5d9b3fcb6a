"""Reduce a docstring to its English sentences.

Dropped: code, doctests, tables, mathematics, headings, type lines, references, links' targets. Kept
as text: descriptions of parameters, notes, list items, roles and links reduced to what is read.
A *run* is a list of sentences that follow each other in one paragraph; where a sentence is
dropped the run ends, so that neighbours in a run were neighbours in the documentation.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

from tinybert.text.embedded.words import FUNCTION_WORDS

MIN_WORDS, MAX_WORDS = 4, 60
MIN_PLAIN_SHARE = 0.75  # of a sentence's tokens that are ordinary words: below, it is half code
MIN_FUNCTION_SHARE = 0.15  # of its tokens that are English function words: below, it is a list

DROPPED_SECTIONS = {"references", "see also", "bibliography", "seealso"}
DIRECTIVES_WITH_PROSE = {
    *("note", "notes", "warning", "tip", "important", "caution", "attention", "hint"),
    *("admonition", "topic", "rubric", "versionnote"),
}
OPENING = r"^(?:[-*+•]|\d{1,2}[.)]|\(?[a-z0-9]\))\s+"
BULLET = re.compile(OPENING)
UNDERLINE = re.compile(r"^([=\-~^*\"#+.`_])\1{2,}$")
TABLE = re.compile(r"^(?:\||\+[-=]|[=-]{2,}\s+[=-]{2,})")
DIRECTIVE = re.compile(r"^\.\. ?([\w-]+)::?(?:\s+(.*))?$")
FENCE = re.compile(r"^(?:```|~~~)")
FIELD = re.compile(r"^[:@](\w+)(?: [^:]*)?:\s*(.*)$")
ARGUMENT = re.compile(r"^[*`]{0,4}[\w.\-]+[*`]{0,4}\s*(?:[(\[].*[)\]])?[\w ,*]{0,20}:(?:\s+(.*))?$")
# NumPy's `name : type`, and a name or a type alone above its indented description.
TYPED = re.compile(r"^[*\w`., \\'\"{}|/-]{1,60}(?: :(?: |$)|:$)")
HEADING = re.compile(r"^(?:#+ .*|[A-Z][\w ]{2,30}::?)$")


@dataclass
class _Reader:
    """Where the reading of a docstring stands: what is being skipped, and the open paragraph."""

    paragraphs: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    indent: int = 0  # of the open paragraph's last line
    item: bool = False  # the open paragraph is a list item's first line
    fenced: bool = False
    to_blank: bool = False  # inside a doctest or a table: skip up to the next blank line
    deeper_than: int | None = None  # inside a literal block: skip what is indented deeper
    section: str = ""

    def close(self) -> None:
        if self.lines:
            self.paragraphs.append(" ".join(self.lines))
        self.lines, self.item = [], False

    def open(self, text: str | None, indent: int, item: bool = False) -> None:
        self.close()
        self.lines, self.indent, self.item = [text] if text else [], indent, item

    def skip_deeper(self, indent: int) -> None:
        self.close()
        self.deeper_than = indent


@lru_cache(maxsize=4096)  # many a docstring stands word for word in a dozen files
def sentence_runs(docstring: str) -> list[list[str]]:
    """Return a docstring's runs of sentences, in its order.

    Args:
        docstring: Reads as reST, NumPy, Google or Markdown; indentation already removed.
    """
    return [run for paragraph in paragraphs(docstring) for run in _runs(plain_text(paragraph))]


def paragraphs(docstring: str) -> list[str]:
    """Return the blocks of running text, each on one line, still with their inline markup."""
    lines = docstring.expandtabs().splitlines()
    reader = _Reader()
    for number, line in enumerate(lines):
        following = next((after for after in lines[number + 1 : number + 3] if after.strip()), "")
        _read(reader, line, following)
    reader.close()
    return reader.paragraphs


def _read(reader: _Reader, line: str, following: str) -> None:
    text, indent = line.strip(), len(line) - len(line.lstrip())
    if FENCE.match(text):
        reader.close()
        reader.fenced = not reader.fenced
    elif reader.fenced:
        return
    elif not text:
        reader.close()
        reader.to_blank = False
    elif reader.to_blank or _inside_literal(reader, indent):
        return
    elif UNDERLINE.match(text):
        reader.section = reader.lines.pop().lower() if reader.lines else ""
        reader.close()
    elif reader.section in DROPPED_SECTIONS and not UNDERLINE.match(following.strip()):
        return
    elif text.startswith((">>>", "... ")) or TABLE.match(text):
        reader.close()
        reader.to_blank = True
    elif text.startswith("..") or HEADING.match(text):
        _read_mark(reader, text, indent)
    else:
        deeper = len(following) - len(following.lstrip()) > indent and bool(following)
        _read_text(reader, text, indent, deeper)


def _inside_literal(reader: _Reader, indent: int) -> bool:
    if reader.deeper_than is not None and indent <= reader.deeper_than:
        reader.deeper_than = None
    return reader.deeper_than is not None


def _read_mark(reader: _Reader, text: str, indent: int) -> None:
    """Read a directive, a comment, a footnote or a heading."""
    directive = DIRECTIVE.match(text)
    heading = text.rstrip(":").lower()
    if directive and directive[1].lower() in DIRECTIVES_WITH_PROSE:
        reader.open(directive[2], indent)
    elif text.startswith("..") or text.endswith("::") or heading in DROPPED_SECTIONS:
        reader.skip_deeper(indent)
    else:
        reader.close()


def _read_text(reader: _Reader, text: str, indent: int, deeper: bool) -> None:
    bullet = BULLET.match(text)
    body = text[bullet.end() :] if bullet else text
    described = FIELD.match(body) or ARGUMENT.match(body)
    fresh = not reader.lines or bullet or (indent != reader.indent and not reader.item)
    if fresh and (TYPED.match(body) if " :" in body else deeper and _is_name(body)):
        reader.close()
    elif described and (fresh or indent <= reader.indent):
        hidden = body.startswith((":type", ":rtype", "@type"))
        reader.open(None if hidden else described.groups()[-1], indent, item=True)
    elif fresh:
        reader.open(body, indent, item=bool(bullet))
    else:
        reader.lines.append(body)
        reader.indent, reader.item = indent, False
    if text.endswith("::") and reader.lines:
        reader.lines[-1] = reader.lines[-1].removesuffix("::") + ":"
        reader.skip_deeper(indent)


def _is_name(text: str) -> bool:
    """Say whether a line over an indented one names or types what that one describes."""
    return not text.endswith((".", ",", ";")) and len(text.split()) <= 6


# Typographic quotes, dashes and the no-break space, to ASCII.
QUOTES = dict(zip(map(ord, "\u2018\u2019\u201c\u201d\u2013\u2014\u00a0"), "''\"\"-- ", strict=True))
# What a pattern removes for good is replaced by DROP, a character is_prose refuses.
DROP = "~"
# A citation that the sentence cannot do without: "as shown in [1]_".
CITED = re.compile(
    r"(?:^|\b(?:in|by|from|of|see|and|to|per|on|with|at|as) )\(?\[[^\[\]]*\](?:_|(?=[ ,.]))",
    re.IGNORECASE,
)
INLINE = [
    (re.compile(r":(?:math|eq|cite|footcite)[\w:]*:`([A-Za-z0-9]{1,3})`"), r"\1"),
    (re.compile(r":(?:math|eq|cite|footcite)[\w:]*:`[^`]*`"), DROP),
    (CITED, DROP),
    (re.compile(r"\[[^\[\]]*\]_|\s?\[\d+(?:,\s?\d+)*\](?!\w)|\|[a-z]+\|"), ""),
    (re.compile(r"\[([^\[\]]+)\]\(<?[^()\s]+>?\)"), r"\1"),
    (re.compile(r":[\w:+-]+:`~?[!.]?([^`<]+?)\s*<[^`]*>`"), r"\1"),
    (re.compile(r":[\w:+-]+:`[~!]\.?(?:[\w ]+\.)*([^`]+?)`"), r"\1"),
    (re.compile(r":[\w:+-]+:`\.?([^`]+?)`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`]*>`__?"), r"\1"),
    (re.compile(r"\[`+([^`\]]+)`+\]"), r"\1"),
    (re.compile(r"`+~?([^`]+?)`+_{0,2}"), r"\1"),
    (re.compile(r"(?<![\w*])(\*{1,3})([^\s*][^*]*?)\1(?![\w*])"), r"\2"),
    (re.compile(r"</?(?:b|i|p|br|em|strong|code|tt|pre|ul|li|Tip|ExampleCodeblock)[^<>]*>"), " "),
    (re.compile(r"\(see (?:https?|ftp)[^)]*\)|\((?:https?|ftp)://[^)]*\)"), ""),
    (re.compile(r"(?:https?|ftp)://\S+|www\.\S+"), DROP),
    (re.compile(r"(?<=\w)\(\)"), ""),
    (re.compile(r"\s+(?=[,.;:!?](?:\s|$))"), ""),
]
MARKUP = re.compile(r"[`*\[<|:()]|www|\s[,.;:!?]")  # without any of these INLINE changes nothing


def plain_text(paragraph: str) -> str:
    """Return a paragraph without its inline markup: what a reader would read."""
    text = paragraph.translate(QUOTES)
    if MARKUP.search(text):
        for pattern, replacement in INLINE:
            text = pattern.sub(replacement, text)
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+\b(?![._(])", text) else text


# A full stop after these ends no sentence; neither does one after a single letter.
SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bcf\.)(?<!\bvs\.)(?<!\bFig\.)(?<!\bEq\.)(?<!\bno\.)"
    r"(?<!\bal\.)(?<!\bresp\.)(?<!\bapprox\.)(?<!\b[A-Z]\.)(?<!\bRef\.)(?<!\bDr\.)(?<!\bMr\.)"
    r"(?<!\bSec\.)(?<!\bSect\.)(?<!\bChap\.)(?<!\bVol\.) +(?=[A-Z\"'(])"
)


def split_sentences(paragraph: str) -> list[str]:
    """Split running text after each sentence."""
    return SENTENCE_END.split(paragraph)


TOKEN_EDGES = "\"'()[]{},;:.!?"
PLAIN_WORD = re.compile(r"^(?:[A-Za-z][a-z]*(?:'[a-z]{1,2})?|[A-Z]{2,4}s?)(?:-[A-Za-z]?[a-z]*)*$")
FORBIDDEN = re.compile(
    r"[^\x20-\x7e]|:\w+:|[~{}<>=|\\^@#$\[\]*`%]|__|::|\.\.|--|\$|[a-z]/[a-z]+/|^\W|\(\s*\)|[.!?]\)?[A-Z]"
    r"|^See (?:also |page |Chapter |Section |\")|\"[^\"]{25,}\",? [A-Z]"
    r"|\b(?:copyright|licen[cs]ed under|todo|fixme|xxx|isbn|doi|vol|pp|et al)\b",
    re.IGNORECASE,
)
ENDING = re.compile(r"[a-z0-9)\"'][.!?]\"?$")
DANGLING = re.compile(r"\b(?:e\.g|i\.e|of|the|a|an|and|or|to|by|in|as|is|are|see|with|for)\W*$")


def is_prose(sentence: str) -> bool:
    """Say whether a string is a whole English sentence with little code in it."""
    tokens = [token.strip(TOKEN_EDGES) for token in sentence.split()]
    if not MIN_WORDS <= len(tokens) <= MAX_WORDS or not sentence[0].isupper():
        return False
    if FORBIDDEN.search(sentence) or not ENDING.search(sentence) or DANGLING.search(sentence):
        return False
    if sentence.count("(") != sentence.count(")") or sentence.count('"') % 2:
        return False
    plain = sum(bool(PLAIN_WORD.match(token)) for token in tokens)
    function = sum(token.lower() in FUNCTION_WORDS for token in tokens)
    return plain >= MIN_PLAIN_SHARE * len(tokens) and function >= MIN_FUNCTION_SHARE * len(tokens)


def _runs(text: str) -> list[list[str]]:
    runs: list[list[str]] = [[]]
    for sentence in split_sentences(text):
        if sentence and is_prose(sentence):
            runs[-1].append(sentence)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
