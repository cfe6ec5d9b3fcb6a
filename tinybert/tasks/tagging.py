"""Tell in which scheme words are tagged, and turn the tags into IOB2.

A tag is `O`, or a prefix, `-` and the type. With LOC twice in a row, of two words and of one:

- IOB1: `I-LOC I-LOC B-LOC`; B- stands only where an entity follows one of its own type.
- IOB2: `B-LOC I-LOC B-LOC`; B- begins every entity.
- BIOES: `B-LOC E-LOC S-LOC`; E- ends, S- is an entity of one word. L- and U- of BILOU are the same,
  and so is M- for I-.
- plain: no tag has a prefix, as parts of speech do; each word has its tag.

`B_LOC` is read as `B-LOC` where all tags are like it. `B` and `I` alone, beside `O`, are those of
a single type, `ENTITY`. Prefixes in lower case are of no scheme, and no plain tags either.

The evidence is that of one file, since people join files of several origins. The first entity of a
run begins with I- in IOB1 and with B- in IOB2, so a single one tells them apart; of a file with
errors, the majority decides. Source: Ramshaw and Marcus 1995, arXiv cmp-lg/9505040, and
Tjong Kim Sang and Veenstra 1999, arXiv cs/9907006.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

Scheme = Literal["IOB1", "IOB2", "BIOES", "plain"]
Form = Literal["-", "_", ""]  # what stands between prefix and type; "": there are no types
OUTSIDE = "O"
ONE_TYPE = "ENTITY"  # of tags without types
PREFIXED = re.compile(r"([BIESLUM])-(.+)", re.DOTALL)
UNDERSCORED = re.compile(r"([BIESLUM])_(.+)", re.DOTALL)
BARE = frozenset("BIESLUM")
LOWER_BARE = frozenset("bieslumo")
LOWERED = re.compile(r"[bieslum][-_].+|o", re.DOTALL)  # tags of a file that somebody lowered
SAME_PREFIX = {"L": "E", "U": "S", "M": "I"}
OF_SCHEME: dict[Scheme, str] = {"IOB1": "IB", "IOB2": "BI", "BIOES": "BIES", "plain": ""}
MEANT: dict[Scheme, str] = {
    "IOB1": "where B- stands only between two entities of one type",
    "IOB2": "where B- begins every entity",
    "BIOES": "where B- begins an entity, I- goes on, E- ends it, and S- is one of one word",
    "plain": "where no tag has a prefix",
}


class Tag(NamedTuple):
    """A tag in its two parts; of `O` both are empty."""

    prefix: str
    type: str


class Fault(NamedTuple):
    """What is wrong with the tag of a word."""

    word: int  # its place in the sentence, from 0
    problem: str


class Tagging(NamedTuple):
    """How the tags of a file are to be read."""

    scheme: Scheme
    form: Form

    def parts(self, tag: str) -> Tag | None:
        """Return the parts of a tag; None of one that no scheme with prefixes has."""
        if tag == OUTSIDE:
            return Tag("", "")
        if self.form == "":
            return Tag(SAME_PREFIX.get(tag, tag), ONE_TYPE) if tag in BARE else None
        found = (UNDERSCORED if self.form == "_" else PREFIXED).fullmatch(tag)
        return Tag(SAME_PREFIX.get(found[1], found[1]), found[2]) if found else None

    def written(self, prefix: str, name: str) -> str:
        """Return a tag as the file would write it."""
        return prefix + (f"{self.form}{name}" if self.form else "")


def find_tagging(sentences: Iterable[Sequence[str]]) -> Tagging | None:
    """Tell the scheme of a file's tags; None where no tag says which, since all are O.

    Args:
        sentences: The tags of each sentence.
    """
    rows = list(sentences)
    tags = {tag for row in rows for tag in row} - {OUTSIDE}
    if not tags:
        return None
    bare = tags <= BARE and "B" in tags and any(OUTSIDE in row for row in rows)
    if bare:
        form: Form = ""
    elif any(map(PREFIXED.fullmatch, tags)):
        form = "-"
    elif all(map(UNDERSCORED.fullmatch, tags)):
        form = "_"
    elif all(map(LOWERED.fullmatch, tags)) or {"b", "o"} <= tags <= LOWER_BARE:
        return Tagging("IOB2", "-")  # so that each is refused
    else:
        return Tagging("plain", "-")
    parts = Tagging("IOB2", form).parts  # the same in every scheme
    return Tagging(_scheme([[parts(tag) for tag in row] for row in rows]), form)


def _scheme(rows: Sequence[Sequence[Tag | None]]) -> Scheme:
    """Count what begins entities, and what ends them as in BIOES alone."""
    begins = {"B": 0, "I": 0, "S": 0}
    ends = 0
    for row in rows:
        before: Tag | None = None
        for tag in row:
            if tag and tag.prefix:
                ends += tag.prefix in "ES"
                if tag.prefix == "S" or (before is None or before.type != tag.type):
                    begins[tag.prefix] = begins.get(tag.prefix, 0) + 1
            before = tag
    if ends and 2 * ends >= begins["B"] + begins["S"]:
        return "BIOES"
    return "IOB1" if begins["I"] > begins["B"] else "IOB2"


def to_iob2(tags: Sequence[str], tagging: Tagging) -> tuple[list[str], list[Fault]]:
    """Turn the tags of a sentence into IOB2.

    Args:
        tags: As read, one a word.
        tagging: How those of the file are read.

    Returns:
        Tags of IOB2, written with `-`, or the same ones if they are plain; and what is wrong.
        Where something is, the tag returned is O.
    """
    if tagging.scheme == "plain":
        return list(tags), []
    parts: list[Tag] = []
    faults: list[Fault] = []
    for word, tag in enumerate(tags):
        found = tagging.parts(tag)
        if found is None or found.prefix not in OF_SCHEME[tagging.scheme]:
            faults.append(Fault(word, _strange(tag, found, tagging)))
            found = None
        parts.append(found or Tag("", ""))
    if faults:
        return [OUTSIDE] * len(tags), faults
    faults = _impossible(tags, parts, tagging)
    return [OUTSIDE] * len(tags) if faults else _converted(parts, tagging.scheme), faults


def _converted(parts: Sequence[Tag], scheme: Scheme) -> list[str]:
    found = []
    before = Tag("", "")
    for tag in parts:
        begins = tag.prefix in ("B", "S") or (scheme == "IOB1" and before.type != tag.type)
        found.append(f"{'B' if begins else 'I'}-{tag.type}" if tag.prefix else OUTSIDE)
        before = tag
    return found


def needless(tags: Sequence[str], tagging: Tagging) -> list[int]:
    """Return the words of an IOB1 sentence that have B- where no entity ends right before.

    They are read as beginnings, as conlleval does: CoNLL-2003's train has two of them.
    """
    if tagging.scheme != "IOB1":
        return []
    parts = [Tag("", ""), *(tagging.parts(tag) or Tag("", "") for tag in tags)]
    return [
        word
        for word, (before, tag) in enumerate(pairwise(parts))
        if tag.prefix == "B" and before.type != tag.type
    ]


def _strange(tag: str, found: Tag | None, tagging: Tagging) -> str:
    """Say that a tag is none of its scheme."""
    name = found.type if found else "TYPE"
    known = [OUTSIDE, *(tagging.written(prefix, name) for prefix in OF_SCHEME[tagging.scheme])]
    return (
        f"no tag of {tagging.scheme}, got {tag!a} in a file read as {tagging.scheme}, "
        f"{MEANT[tagging.scheme]}; write one of {', '.join(known)}"
    )


def _impossible(tags: Sequence[str], parts: Sequence[Tag], tagging: Tagging) -> list[Fault]:
    """Return the words whose tags cannot stand in this order."""
    if tagging.scheme == "IOB1":
        return []  # a needless B- is no less clear
    find = _faults_iob2 if tagging.scheme == "IOB2" else _faults_bioes
    return [
        Fault(
            word,
            f"impossible order of tags, got {tags[word]} {_neighbour(tags, word, after)} in a file "
            f"read as {tagging.scheme}, {MEANT[tagging.scheme]}; write "
            f"{tagging.written(right, parts[word].type)}",
        )
        for word, right, after in find(parts)
    ]


def _neighbour(tags: Sequence[str], word: int, after: bool) -> str:
    """Say what stands before or after a word."""
    if after:
        return f"before {tags[word + 1]}" if word + 1 < len(tags) else "at the end of the sentence"
    return f"after {tags[word - 1]}" if word else "at the beginning of the sentence"


# Each: the word, the prefix it should have, and whether what stands after it shows the fault.
Order = tuple[int, str, bool]


def _faults_iob2(parts: Sequence[Tag]) -> list[Order]:
    before = [Tag("", ""), *parts]
    return [
        (word, "B", False)
        for word, tag in enumerate(parts)
        if tag.prefix == "I" and before[word].type != tag.type
    ]


def _faults_bioes(parts: Sequence[Tag]) -> list[Order]:
    faults: list[Order] = []
    outside = Tag("", "")
    before = [outside, *parts]
    after = [*parts[1:], outside]
    for word, tag in enumerate(parts):
        opened = before[word].prefix in ("B", "I") and before[word].type == tag.type
        goes_on = after[word].prefix in ("I", "E") and after[word].type == tag.type
        if tag.prefix in ("I", "E") and not opened:
            faults.append((word, "B" if goes_on else "S", False))
        elif tag.prefix in ("B", "I") and not goes_on:
            faults.append((word, "S" if tag.prefix == "B" else "E", True))
    return faults
