"""Read the rows of a tokens task's table: words by their places, tags of IOB2.

A row has a list of words with a list of tags, from CoNLL, JSONL or Parquet; or a text with spans;
or, without labels, a text alone. Words of a list are joined by single spaces. A text is split into
words as `words.split_words` says, and keeps its length: a line break in it becomes a space, so that
places in it are those of the user's text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tinybert.tasks.glue import is_labelled
from tinybert.tasks.labels import SURROGATE, WITHHELD
from tinybert.tasks.spans import is_spans, read_spans, span_tags
from tinybert.tasks.tables import Table
from tinybert.tasks.tagging import OUTSIDE, find_tagging, needless, to_iob2
from tinybert.tasks.task_file import TaskFile, label_text
from tinybert.tasks.words import Words, join_words, split_words

NO_TAG = WITHHELD | {"", "_", "-"}  # what is written for a tag that is not told
LINE_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # where str.splitlines cuts
NO_WORDS = Words("", [], [])


@dataclass
class Row:
    """A row as it was read."""

    number: int  # in its table
    place: str  # for messages
    given: object  # the words or the text
    word_places: list[str] | None = None  # where words have lines of their own
    words: Words = NO_WORDS
    tags: list[str] | None = None  # None: unlabelled
    from_spans: bool = False  # the tags are of IOB2 already
    empty: bool = False  # it has no words, and no other problem
    problems: list[str] = field(default_factory=list)  # each with its place

    def refuse(self, problem: str, word: int | None = None) -> None:
        """Add what is wrong with the row, or with one of its words."""
        self.problems.append(f"{self.place if word is None else self.at(word)}: {problem}")

    def at(self, word: int) -> str:
        """Name the place of a word and the word itself."""
        place = self.place if self.word_places is None else self.word_places[word]
        text = self.given[word] if isinstance(self.given, list) else self.words.word(word)
        return f"{place}: word {word + 1} {str(text)[:40]!a}"


class TaggedSplit:
    """A split: its rows as read, and then with tags of IOB2."""

    def __init__(self, task: TaskFile, split: str, table: Table) -> None:
        self.task, self.split, self.table = task, split, table
        self.rows = read_rows(table)
        self.notes: list[str] = []
        self.words = {label_text(word) or "": name for word, name in task.label_words.items()}
        self._read_labels()
        tags = [row.tags for row in self.rows if row.tags and not row.from_spans]
        self.tagging = find_tagging(tags)

    def _read_labels(self) -> None:
        values = self.table.label
        if values is None or (not is_labelled(self.split) and all(map(_is_withheld, values))):
            return
        for row, value in zip(self.rows, values, strict=True):
            if is_spans(value) and isinstance(row.given, str):
                _read_spans(row, value)
            else:
                self._read_tags(row, value)

    def _read_tags(self, row: Row, value: object) -> None:
        given = row.given
        row.tags = []
        if not isinstance(given, list | str):
            return  # refused already
        if not isinstance(value, list) or not isinstance(given, list):
            got = "a text and " if isinstance(given, str) else ""
            row.refuse(
                f"label is no list of tags of words, got {got}{_short(value)}; write a list of "
                'words and one of tags, or a text and spans such as {"start": 0, "end": 5, '
                '"label": "PER"}'
            )
        elif len(value) != len(given):
            row.refuse(
                f"unequal numbers of words and tags, got {len(given)} words and {len(value)} tags, "
                f"in {row.words.text[:40]!a}; write a tag for each word"
            )
        else:
            row.tags = [self._tag(row, word, tag) for word, tag in enumerate(value)]

    def _tag(self, row: Row, word: int, value: object) -> str:
        text = label_text(value) or ""
        if text in self.words:
            return self.words[text]
        if text and isinstance(value, int | float):
            row.refuse(
                f"tag is a number without a name, got {value}; write names, or lead numbers to "
                'them: `label_words: {"0": O, "1": B-PER}` in the task\'s file',
                word,
            )
        elif not isinstance(value, str) or not text:
            row.refuse(f"tag is missing, got {_short(value)}; write one, O for no entity", word)
        elif SURROGATE.search(text):
            row.refuse(f"tag has half a character, got {text[:40]!a}; mend it", word)
        return text

    def convert(self) -> None:
        """Turn the tags into IOB2 with the types' names; say how they were read."""
        needless_at: list[str] = []
        for row in self.rows:
            if row.tags is None or row.problems:
                continue
            if self.tagging and not row.from_spans:
                needless_at += [row.at(word) for word in needless(row.tags, self.tagging)]
                row.tags, faults = to_iob2(row.tags, self.tagging)
                for word, problem in faults:
                    row.refuse(problem, word)
            row.tags = [self._renamed(tag) for tag in row.tags]
        if self.tagging:
            none_o = self.plain and not any(OUTSIDE in (row.tags or ()) for row in self.rows)
            counted = ", and none is O: each word counts as an entity" if none_o else ""
            self.notes.append(f"tags are read as {self.tagging.scheme}{counted}")
        if needless_at:
            self.notes.append(
                f"{len(needless_at)} entities have B- where none of their type ends right before, "
                f"the first at {needless_at[0]}; they are read as beginnings"
            )
        self._without_entities()

    def _renamed(self, tag: str) -> str:
        """Give a tag's type its name of the task's file; a type that is led to O is none."""
        if self.plain or tag == OUTSIDE:
            return tag
        name = self.words.get(tag[2:], tag[2:])
        return OUTSIDE if name == OUTSIDE else tag[:2] + name

    def _without_entities(self) -> None:
        """Take a test split's tags for withheld ones if they name no entity at all."""
        tagged = [row for row in self.rows if row.tags is not None]
        whole = not any(row.problems for row in tagged)
        if is_labelled(self.split) or not tagged or not whole or any(self.types()):
            return
        for row in tagged:
            row.tags = None
        self.notes.append(
            f"no entity in {len(tagged)} rows, so its tags are taken for withheld ones"
        )

    @property
    def plain(self) -> bool:
        """Whether tags are whole: there are no prefixes."""
        return self.tagging is not None and self.tagging.scheme == "plain"

    def types(self) -> Iterable[tuple[Row, set[str]]]:
        """Yield the rows that have entities, with their types; of plain tags, the tags."""
        for row in self.rows:
            tags = set(row.tags or ()) if not row.problems else set[str]()
            if not self.plain:
                tags -= {OUTSIDE}
            if found := {tag if self.plain else tag[2:] for tag in tags}:
                yield row, found


def read_rows(table: Table) -> list[Row]:
    """Return each row's words, and what is wrong with them."""
    rows = []
    for at, (number, value) in enumerate(zip(table.numbers, table.sentence1, strict=True)):
        lines = table.word_lines
        places = None if lines is None else [table.where(line) for line in lines[at]]
        row = Row(number, table.where(number), value, places)
        if isinstance(value, list):
            _read_words(row, value)
        elif isinstance(value, str):
            _read_text(row, value)
        else:
            row.refuse(
                f"sentence 1 is no text and no list of words, got {_short(value)}; write one, or "
                "name its column under `columns`"
            )
        rows.append(row)
    return rows


def _read_text(row: Row, text: str) -> None:
    if SURROGATE.search(text):
        row.refuse(f"sentence 1 has half a character, got {text[:40]!a}; mend it")
        return
    row.words = split_words(LINE_BREAK.sub(" ", text))
    if not len(row.words):
        row.empty = True
        row.refuse(f"sentence 1 has no words, got {_short(text)}; write some")


def _read_words(row: Row, words: Sequence[object]) -> None:
    for number, word in enumerate(words):
        if problem := _word_problem(word):
            row.refuse(problem, number)
    if not words:
        row.empty = True
        row.refuse("sentence 1 has no words, got []; write some")
    if not row.problems:
        row.words = join_words([str(word) for word in words])


def _word_problem(word: object) -> str:
    if not isinstance(word, str):
        return f"is no text, got {_short(word)}; write it in quotes"
    if not word.strip():
        return f"is empty, got {word!a}; take it out, with its tag"
    if SURROGATE.search(word):
        return f"has half a character, got {word[:40]!a}; mend it"
    if LINE_BREAK.search(word):
        return f"holds a line break, got {word[:40]!a}; take it out of the word"
    return ""


def _read_spans(row: Row, value: object) -> None:
    spans, problems = read_spans(value, row.words.text)
    row.from_spans, row.tags = True, []
    for problem in problems:
        row.refuse(problem)
    if not row.problems:
        row.words, row.tags = span_tags(row.words.text, spans)


def _is_withheld(value: object) -> bool:
    if isinstance(value, list):
        return all((label_text(each) or "") in NO_TAG for each in value) and bool(value)
    return label_text(value) is None or str(value) in WITHHELD


def _short(value: object) -> str:
    return "an empty field" if value is None or value == "" else ascii(value)[:40]
