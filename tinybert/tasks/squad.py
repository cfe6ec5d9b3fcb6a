"""Read SQuAD's JSON: articles of paragraphs, each a passage with its questions and answers.

Source: Rajpurkar et al. 2018, arXiv 1806.03822. Version 1.1 is the same without `is_impossible`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tinybert.runtime.errors import InputError
from tinybert.tasks.tables import Table, listed
from tinybert.tasks.text import read_text

LAYOUT = (
    '{"data": [{"paragraphs": [{"context": "...", "qas": [{"id": "...", "question": "...", '
    '"answers": [{"text": "...", "answer_start": 0}]}]}]}]}'
)
SHOWN = 40  # characters of what stands there instead


@dataclass(frozen=True)
class SquadTable(Table):
    """Questions of a file, numbered from 1 on; `further` has `id` and `is_impossible`."""

    spots: dict[int, str] = field(default_factory=dict)  # number -> article, paragraph, question

    def where(self, number: int) -> str:
        """Return the file, and the question's place in it with its id."""
        return f"{self.place}: {self.spots[number]}"


def read_squad(file: Path, labelled: bool) -> SquadTable:
    """Read a file in SQuAD's layout; it changes no character of a text.

    Args:
        file: A JSON file.
        labelled: Its questions must have answers, or be marked as impossible; otherwise they may.

    Raises:
        InputError: It is no JSON, or its layout is another one: every place is named.
    """
    reader = _Reader(file)
    reader.read(_parsed(file))
    if reader.problems:
        raise listed(str(file), reader.problems, f"the layout is {LAYOUT}")
    table = reader.table
    untold = all(label is None for label in table.label or [])
    if labelled or not untold:
        return table
    return replace(table, label=None)


def _parsed(file: Path) -> object:
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        place, what = f"{file}:{error.lineno}", f"{error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:  # numbers of 4,300 digits, 1,000 brackets
        place, what = str(file), str(error)
    cure = "mend it there, or fetch the file again"
    if what.startswith("Extra data"):
        cure = "SQuAD's file is one object; of one object a line write it as .jsonl, without format"
    raise InputError(f"{place}: not JSON, got {what}; {cure}")


class _Reader:
    """Collects a file's questions, and what is wrong with its layout."""

    def __init__(self, file: Path) -> None:
        self.place = str(file)
        self.problems: list[str] = []
        further: dict[str, list[object]] = {"id": [], "is_impossible": []}
        self.table = SquadTable(self.place, "question", [], [], [], [], further=further)

    def read(self, content: object) -> None:
        """Read a file's whole content."""
        for article, part in self._parts(content, "data", ""):
            for paragraph, passage in self._parts(part, "paragraphs", article):
                context = passage.get("context")
                if not isinstance(context, str):
                    self._refuse(paragraph, "no text `context`", passage, "context")
                    continue
                for question, each in self._parts(passage, "qas", paragraph):
                    self._add(question, context, each)

    def _parts(self, of: object, key: str, spot: str) -> Iterator[tuple[str, dict[str, object]]]:
        """Return the objects of a list with their spots, and note what is none."""
        parts = of.get(key) if isinstance(of, dict) else None
        if not isinstance(parts, list):
            self._refuse(spot, f"no list `{key}`", of, key)
            return
        word = {"data": "article", "paragraphs": "paragraph", "qas": "question"}[key]
        for number, part in enumerate(parts, start=1):
            here = f"{spot}, {word} {number}".lstrip(", ")
            if isinstance(part, dict):
                yield here, part
            else:
                self._refuse(here, "no object", part, "")

    def _add(self, spot: str, context: str, each: dict[str, object]) -> None:
        name = each.get("id")
        if name is not None:
            shown = str(name)[:SHOWN]
            spot += f", id {shown if shown.isprintable() else repr(shown)}"
        if "question" not in each:
            self._refuse(spot, "no `question`", each, "question")
            return
        table, number = self.table, len(self.table.numbers) + 1
        assert table.sentence2 is not None and table.label is not None
        table.numbers.append(number)
        table.spots[number] = spot
        table.sentence1.append(each["question"])
        table.sentence2.append(context)
        table.further["id"].append(name)
        table.further["is_impossible"].append(each.get("is_impossible"))
        without: list[object] | None = [] if each.get("is_impossible") is True else None
        table.label.append(each.get("answers", without))

    def _refuse(self, spot: str, what: str, found: object, key: str) -> None:
        got = repr(found)
        if isinstance(found, dict):
            got = repr(found[key]) if key in found else ", ".join(map(repr, found)) or "{}"
        place = f"{self.place}: {spot}".removesuffix(": ")
        cure = f"the layout is {LAYOUT}"
        self.problems.append(f"{place}: {what}, got {got[:SHOWN]}; {cure}")
