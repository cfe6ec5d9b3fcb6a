"""What a task's file in params/tasks/ may say."""

import math
import re
from collections.abc import Collection
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tinybert.settings.choices import Kind
from tinybert.settings.reader import Settings
from tinybert.tasks.task import (
    DEV,
    METRICS,
    TRAIN,
    UNLABELLED,
    Encoding,
    Long,
    MetricName,
    Pool,
    SplitName,
    TaskInfo,
)

# Where a task's file names no columns: what the field's files call them. Of a file of CoNLL's kind
# columns are numbers from 0, the last one -1.
USUAL_COLUMNS: dict[Kind, dict[str, str]] = {
    "tokens": {"sentence1": "tokens", "label": "tags"},
    "span": {"sentence1": "question", "sentence2": "context", "label": "answers"},
}
CONLL_COLUMNS = {"sentence1": "0", "label": "-1"}
KIND_OF_FORMAT: dict[str, Kind] = {"conll": "tokens", "squad": "span"}
# Keys of a task's file that other kinds have no use for.
KEYS_OF: dict[str, tuple[Kind, ...]] = {
    "label_separator": ("multilabel",),
    "max_answer_length": ("span",),
    "pool": ("classification", "regression", "multilabel"),
}
# What YAML 1.1 makes of words that people write without quotes.
UNQUOTED = {True: "'yes' (or 'true', 'on')", False: "'no' (or 'false', 'off')", None: "'null'"}


def label_text(value: object) -> str | None:
    """Return what a label is called, the same for 1, 1.0, "1.0" and " 1 "; None for no label.

    A reader of tables may have turned whole numbers into decimal ones, and true into True.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip()
    if re.fullmatch(r"[+-]?\d+\.0+", text):
        text = text.split(".")[0]
    return text.lower() if text in ("True", "False", "TRUE", "FALSE") else text or None


def _as_text(value: object) -> object:
    """Take a whole number for its text; refuse what YAML has made of another unquoted word."""
    if isinstance(value, bool) or value is None:
        raise ValueError(f"is no text to YAML, got {value}; write {UNQUOTED[value]} in quotes")
    if isinstance(value, float | date):
        raise ValueError(f"is no text to YAML, got {value}; write '{value}' in quotes")
    return str(value) if isinstance(value, int) else value


Text = Annotated[str, BeforeValidator(_as_text)]


class Files(Settings):
    """A file a split, relative to `sources.tasks` of params.yaml.

    They are CSV, TSV, JSONL or Parquet by their extension, unless `format` says what they are:
    `conll`, a word and its tags a line and a blank line after each sentence; `squad`, JSON in the
    layout of SQuAD.
    """

    train: str
    dev: str | None = None  # None: a tenth of train is set aside
    test: str | None = None
    separator: str | None = None  # of CSV and TSV; None: a comma, a tab
    header: list[Text] | None = None  # of CSV and TSV without a first line of names: the names
    format: Literal["conll", "squad"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_split(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError(f"must name a file a split, got {given}; write {{train: {given}}}")
        return given

    def named(self) -> dict[str, str]:
        """Return the file of each split that has one."""
        files = {TRAIN: self.train, DEV: self.dev, "test": self.test}
        return {split: file for split, file in files.items() if file is not None}

    @model_validator(mode="after")
    def _files_differ(self) -> "Files":
        names = list(self.named().values())
        if "" in names:
            raise ValueError("each split must name a file, got ''; write one, or leave it out")
        if len(set(names)) < len(names):
            raise ValueError(
                f"each split must have a file of its own, got {', '.join(names)}; without `dev` a "
                f"tenth of train is set aside"
            )
        _require_separator(self.separator, self.named().values())
        _require_header(self.header, names)
        return self


def _require_header(given: list[str] | None, names: Collection[str]) -> None:
    """Refuse names of columns that are not different, or of files that have a place for them."""
    if given is None:
        return
    _require_delimited("header", names)
    if len(set(given)) < len(given) or not all(given):
        raise ValueError(f"header must be different names, got {given}; mend it")


def _require_separator(given: str | None, names: Collection[str]) -> None:
    """Refuse a separator that is no single character, or of files that have none."""
    if given is None:
        return
    printed = given == "\t" or given.isprintable()
    if len(given) != 1 or given.isalnum() or given == '"' or not printed:
        raise ValueError(
            f"separator must be one character, got {given!r}; write it in double quotes, such "
            f'as ";" or "\\t"'
        )
    _require_delimited("separator", names)


def _require_delimited(key: str, names: Collection[str]) -> None:
    if not any(name.lower().endswith((".csv", ".tsv")) for name in names):
        raise ValueError(f"{key} is of CSV and TSV, got none of them; remove it")


class Hub(Settings):
    """A data set of the hub, or a folder of `sources.tasks` with the hub's Parquet files."""

    path: str
    name: str | None = None  # the data set's configuration, or the folder's subfolder
    # Our split -> the hub's. Without `dev`, a tenth of train is set aside.
    splits: dict[SplitName, str] = Field(default={"train": "train", "dev": "validation"})

    @model_validator(mode="after")
    def _has_train(self) -> "Hub":
        if TRAIN not in self.splits:
            raise ValueError(f"splits must name train, got {list(self.splits)}; add `train: train`")
        if UNLABELLED in self.splits:
            raise ValueError(
                f"splits must be labelled, or predicted, got {UNLABELLED}; write `unlabelled: "
                f"{{hub: {{path: {self.path}, split: {self.splits[UNLABELLED]}}}}}` beside `hub`"
            )
        return self


class Rows(Settings):
    """How many rows of each split an embedded task is made of."""

    train: int = Field(ge=2)
    dev: int = Field(ge=1)
    test: int = Field(ge=1)
    unlabelled: int = Field(default=0, ge=0)  # further ones of train's text, without labels


class Columns(Settings):
    """Which column holds what. A single-sentence task has no `sentence2`."""

    KEY: ClassVar[str] = "columns"  # of the task's file, for messages

    sentence1: Text
    sentence2: Text | None = None
    label: str | list[str]  # a list: a column of 0 and 1 for each label of a multilabel task

    @field_validator("label", mode="before")
    @classmethod
    def _as_texts(cls, given: object) -> object:
        if isinstance(given, dict):
            raise ValueError(f"must name a column or a list of them, got {given}; write a name")
        return list(map(_as_text, given)) if isinstance(given, list) else _as_text(given)

    @property
    def labels(self) -> list[str]:
        """The columns of the label."""
        return self.label if isinstance(self.label, list) else [self.label]

    @model_validator(mode="after")
    def _differ(self) -> "Columns":
        texts = [name for name in (self.sentence1, self.sentence2) if name is not None]
        names = [*texts, *self.labels]
        if len(set(names)) < len(names):
            raise ValueError(f"must name different columns, got {', '.join(names)}; correct one")
        return self


class UnlabelledColumns(Columns):
    """Which column holds what where there are no labels; one that is there is not read."""

    KEY: ClassVar[str] = "unlabelled: columns"

    label: str | list[str] = ""

    @property
    def labels(self) -> list[str]:
        """None, unless they are named."""
        return super().labels if self.label else []


class HubRows(Settings):
    """One split of a data set of the hub, or of a folder of `sources.tasks` in its layout."""

    path: str
    name: str | None = None
    split: str = "train"


class Unlabelled(Settings):
    """Text of the task's kind that nobody has labelled, for the teacher to score.

    A file's name, or a list of them, stands for `files` alone.
    """

    # CSV, TSV, JSONL, Parquet, or .txt with a text a line, relative to sources.tasks.
    files: list[str] = Field(default=[])
    hub: HubRows | None = None
    separator: str | None = None  # of CSV and TSV; None: a comma, a tab
    header: list[Text] | None = None  # of CSV and TSV without a first line of names: the names
    columns: UnlabelledColumns | None = None  # None: those of the task
    max_rows: int | None = Field(default=None, ge=1)  # drawn by the seed; None: all

    @model_validator(mode="before")
    @classmethod
    def _files_alone(cls, given: Any) -> Any:
        return {"files": given} if isinstance(given, str | list) else given

    @field_validator("files", mode="before")
    @classmethod
    def _one_file(cls, files: Any) -> Any:
        return [files] if isinstance(files, str) else files

    @model_validator(mode="after")
    def _one_source(self) -> "Unlabelled":
        if bool(self.files) == bool(self.hub):
            found = "both" if self.hub else "none"
            raise ValueError(f"exactly one of files, hub must be given, got {found}; keep one")
        if "" in self.files or len(set(self.files)) < len(self.files):
            raise ValueError(f"files must be different, got {self.files}; name each once")
        _require_separator(self.separator, self.files)
        _require_header(self.header, self.files)
        return self

    def require_fit(self, pair: bool) -> None:
        """Refuse pairs for a task of single sentences, and the other way round."""
        if self.columns is not None and (self.columns.sentence2 is not None) != pair:
            found = "without" if pair else "with"
            cure = "name it as the task's `columns` do" if pair else "take it out"
            raise ValueError(
                f"unlabelled: columns must be like the task's, got columns {found} sentence2; "
                f"{cure}"
            )
        texts = [name for name in self.files if name.lower().endswith(".txt")]
        if pair and texts:
            raise ValueError(
                f"unlabelled: files of a task of pairs have two columns, got {texts[0]}, which has "
                "a text a line; write it as .tsv with a header"
            )


class TaskFile(Settings):
    """A file of params/tasks/. Exactly one of glue, hub, files, embedded says where the data is."""

    description: str = ""
    glue: str | None = None  # the folder's name in GLUE, for instance MRPC
    hub: Hub | None = None
    files: Files | None = None
    embedded: Literal["acceptability", "names", "similarity", "subject", "summary"] | None = None
    rows: Rows | None = None  # of an embedded task
    unlabelled: Unlabelled | None = None  # rows that the teacher labels for its students
    columns: Columns
    kind: Kind = "classification"
    labels: list[Text] | None = None  # None: the sorted values of train; of tokens: entity types
    label_separator: str = Field(default=",", min_length=1)  # between labels, of multilabel
    label_words: dict[Text, Text] = Field(default={})  # a file's word for a label -> its name
    bad_rows: Literal["refuse", "drop"] = "refuse"  # drop: counted and printed
    metrics: list[MetricName] = Field(default=[], max_length=4)  # the first one selects
    max_length: int = Field(default=128, ge=8)  # word pieces, special ones included
    # What is read of longer rows: the first pieces; the first quarter and the last three; or all,
    # in windows that overlap by `stride` pieces. None: windows of tokens and span, else cut.
    long: Long | None = None
    # Pieces that a window shares with the next one; None: a quarter of max_length.
    stride: int | None = Field(default=None, ge=0)
    pool: Pool = "mean"  # a row's logits from those of its windows
    max_answer_length: int = Field(default=30, ge=1)  # pieces, of span
    epochs_scale: float = Field(default=1.0, gt=0)  # times intermediate_distill's num_epochs
    prediction_data: Literal["augmented", "original"] = "augmented"
    teacher: str | None = None  # hub id or folder of one already fine-tuned on this task

    def encoding(self, info: "TaskInfo") -> "Encoding":
        """Return how the prepared task's rows become pieces."""
        return Encoding(
            kind=info.kind,
            num_outputs=info.num_outputs,
            max_length=self.max_length,
            long=self.long or ("windows" if info.kind in ("tokens", "span") else "cut"),
            stride=self.max_length // 4 if self.stride is None else self.stride,
            pool=self.pool,
            max_answer_length=self.max_answer_length,
        )

    def samples_pairs(self, number: int) -> bool:
        """Return whether unlabelled rows are made of the task's own texts.

        Args:
            number: The profile's prepare_task.sampled_pairs.
        """
        is_pair = self.columns.sentence2 is not None and self.kind != "span"
        return number > 0 and is_pair

    def has_unlabelled(self, sampled_pairs: int) -> bool:
        """Return whether the task has rows without labels to train on.

        Args:
            sampled_pairs: What the profile says.
        """
        given = self.unlabelled is not None or bool(self.rows and self.rows.unlabelled)
        return given or self.samples_pairs(sampled_pairs)

    @model_validator(mode="after")
    def _sources_fit(self) -> "TaskFile":
        given = [key for key in ("glue", "hub", "files", "embedded") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of glue, hub, files, embedded must be given, got "
                f"{' and '.join(given) or 'none'}; keep one"
            )
        if bool(self.embedded) != bool(self.rows):
            found = "rows" if self.rows else "no rows"
            raise ValueError(
                f"`rows` belongs to an embedded task, and each has it, got {found} beside "
                f"{given[0]}; write `rows: {{train: 450, dev: 1000, test: 2000}}` or remove it"
            )
        if self.unlabelled is not None:
            self.unlabelled.require_fit(pair=self.columns.sentence2 is not None)
        return self

    @field_validator("label_words", mode="before")
    @classmethod
    def _words_differ(cls, words: Any) -> Any:
        """Refuse words that a table's labels cannot tell apart, such as 1 and "1"."""
        if isinstance(words, dict):
            names: dict[str | None, object] = {}
            for word, name in words.items():
                if names.setdefault(label_text(word), name) != name:
                    raise ValueError(f"must give each word one name, got two for {word}; keep one")
        return words

    @model_validator(mode="before")
    @classmethod
    def _usual_columns(cls, given: Any) -> Any:
        """Name the columns of a kind whose files have usual ones."""
        if not isinstance(given, dict) or "columns" in given:
            return given
        files = given.get("files")
        form = files.get("format") if isinstance(files, dict) else None
        conll, kind = form == "conll", given.get("kind")
        if kind is None and form in KIND_OF_FORMAT:
            raise ValueError(
                f"kind must be {KIND_OF_FORMAT[form]} for files of format {form}, got none; write "
                f"kind: {KIND_OF_FORMAT[form]}"
            )
        usual = CONLL_COLUMNS if conll else USUAL_COLUMNS.get(cast(Kind, str(kind)))
        return given if usual is None else {**given, "columns": usual}

    @model_validator(mode="after")
    def _kind_fits(self) -> "TaskFile":
        form = self.files.format if self.files else None
        if form and KIND_OF_FORMAT[form] != self.kind:
            raise ValueError(
                f"kind must be {KIND_OF_FORMAT[form]} for files of format {form}, got {self.kind}; "
                "correct one"
            )
        for key, kinds in KEYS_OF.items():
            if key in self.model_fields_set and self.kind not in kinds:
                raise ValueError(
                    f"{key} is of kind {' and '.join(kinds)}, got it in one of kind {self.kind}; "
                    "take it out"
                )
        if self.kind == "span" and self.columns.sentence2 is None:
            raise ValueError(
                "columns of a span task must name sentence2, the passage, got none; add it"
            )
        if self.kind == "tokens" and self.columns.sentence2 is not None:
            raise ValueError(
                f"columns of a tokens task have no sentence2, got {self.columns.sentence2}; "
                "take it out"
            )
        if isinstance(self.columns.label, list) and self.kind != "multilabel":
            raise ValueError(
                f"several columns of labels are of a multilabel task, got kind {self.kind}; write "
                "kind: multilabel, or name one column"
            )
        if self.stride is not None and self.stride > self.max_length // 2:
            raise ValueError(
                f"stride must be at most half of max_length {self.max_length}, got {self.stride}; "
                f"write {self.max_length // 4}"
            )
        if self.kind == "span" and self.long not in (None, "windows"):
            raise ValueError(
                f"long of a span task is windows, got {self.long}; an answer may be anywhere in "
                "its passage: take it out"
            )
        if self.long == "head_tail" and (self.kind == "tokens" or self.columns.sentence2):
            raise ValueError(
                "long: head_tail is of single texts with a label, got "
                f"{'tokens' if self.kind == 'tokens' else 'pairs'}; write cut or windows"
            )
        return self

    @model_validator(mode="after")
    def _labels_fit(self) -> "TaskFile":
        if self.kind in ("regression", "span") and (self.labels or self.label_words):
            raise ValueError(f"a {self.kind} task has no labels, got some; remove them")
        names = {label_text(name) for name in self.labels or []}
        fewest = 1 if self.kind == "tokens" else 2
        if self.labels is not None and (len(names - {None}) < max(fewest, len(self.labels))):
            raise ValueError(
                f"labels must be two or more different names, got {self.labels}; mend them "
                f"(space around a name does not count, and 1.0 is 1)"
            )
        strange = set(self.label_words.values()) - set(self.labels or self.label_words.values())
        if strange:
            raise ValueError(
                f"label_words must lead to names in labels, got {', '.join(sorted(strange))}; "
                f"known: {', '.join(self.labels or [])}"
            )
        return self

    @model_validator(mode="after")
    def _metrics_fit(self) -> "TaskFile":
        wrong = [name for name in self.metrics if name not in METRICS[self.kind]]
        if wrong:
            raise ValueError(
                f"metrics must fit kind {self.kind}, got {', '.join(wrong)}; it is measured by "
                f"{', '.join(METRICS[self.kind])}"
            )
        return self
