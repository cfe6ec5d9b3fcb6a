"""A benchmark's table, a CSV file: a row is written as soon as it is known, and not computed again.

A file is of one system and one precision, which its rows name. Processes that run side by side, of
other seeds or tasks, write a file each (`--table`), or the same.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import pandas as pd
from filelock import FileLock

from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file
from tinybert.runtime.precision import Precision
from tinybert.settings.names import split_names

FOLDER = Path("reports/benchmarks")
OF_ONE = ("system", "precision")  # a file's rows are alike in these
Key = TypeVar("Key", bound=tuple[Any, ...])


def numbers(text: str) -> list[int]:
    """Return the numbers between commas or spaces.

    Raises:
        ValueError: One is none, or below 0.
    """
    found = [int(number) for number in split_names(text)]
    if any(number < 0 for number in found):
        raise ValueError(f"must be 0 or more, got {text}")
    return found


def make_parser(name: str, precision: Precision | None = "fp32") -> argparse.ArgumentParser:
    """Return a command line with the options that a `Table` reads, and what a file is of one of.

    Args:
        name: The benchmark's.
        precision: Of training, if no other is named; None: there is no choice.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.set_defaults(benchmark=name)
    parser.add_argument("--system", default="closed_form_mini")
    if precision is not None:
        parser.add_argument("--precision", choices=get_args(Precision), default=precision)
    table = FOLDER / f"{name}.csv"
    parser.add_argument("--table", nargs="+", type=Path, default=[table], metavar="FILE")
    parser.add_argument("--show", action="store_true", help="the rows of each --table as they are")
    return parser


class Table:
    """Rows by what they are of.

    Args:
        keys: The columns that say what a row is of.
        given: The command line, of `make_parser`.

    Raises:
        InputError: A file is no such table, or of another system or precision, or there are several
            and not only to be shown.
    """

    def __init__(self, keys: Sequence[str], given: argparse.Namespace) -> None:
        self.keys, self.files, self.show = list(keys), given.table, given.show
        self.name: str = given.benchmark
        self.of = {name: getattr(given, name) for name in OF_ONE if name in given}
        if len(self.files) > 1 and not self.show:
            raise InputError(
                f"--table: rows are written to one file, got {len(self.files)}; name one, or add "
                "--show"
            )
        self.rows = self._joined([self._read(file) for file in self.files])
        self.added, self.wanted = 0, 0

    def missing(self, asked: Iterable[Key]) -> list[Key]:
        """Return which of what is asked for has no row; none where rows are only shown."""
        known = set(self.rows[self.keys].itertuples(index=False, name=None))
        lacking = [] if self.show else [key for key in asked if key not in known]
        self.wanted = len(lacking)
        return lacking

    def add(self, key: tuple[Any, ...], **measured: Any) -> None:
        """Write a row, and tell it."""
        row = dict(zip(self.keys, key, strict=True)) | measured
        (file,) = self.files
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            # Read again, since another process may have added to it.
            self.rows = self._joined([self._read(file), pd.DataFrame([self.of | row])])
            with replace_file(file) as partial:
                self.rows.to_csv(partial, index=False)
        self.added += 1
        shown = ", ".join(f"{name} {value}" for name, value in row.items())
        print(f"{self.name}: {self.added} of {self.wanted}: {shown}", flush=True)

    def found(self) -> pd.DataFrame:
        """Return all rows.

        Raises:
            InputError: There are none.
        """
        if self.rows.empty:
            files = ", ".join(map(str, self.files))
            raise InputError(f"--table: no row to show, got none in {files}; measure some first")
        return self.rows

    def _joined(self, found: list[pd.DataFrame]) -> pd.DataFrame:
        some = [rows for rows in found if len(rows)] or found
        for name in self.of:
            values = list(dict.fromkeys(value for rows in some for value in rows[name]))
            if len(values) > 1:
                raise InputError(
                    f"--table: rows of one {name} are shown, got {', '.join(values)}; name files "
                    "of one"
                )
        return pd.concat(some, ignore_index=True).drop_duplicates(self.keys, ignore_index=True)

    def _read(self, file: Path) -> pd.DataFrame:
        try:
            rows = pd.read_csv(file)
        except FileNotFoundError:
            return pd.DataFrame(columns=[*self.of, *self.keys])
        except (OSError, ValueError):
            rows = pd.DataFrame()
        if not {*self.of, *self.keys} <= set(rows.columns):
            raise InputError(
                f"{file}: no table of {self.name}, got columns {', '.join(rows.columns) or 'none'};"
                f" it needs {', '.join([*self.of, *self.keys])}: name another file"
            )
        for name, ours in self.of.items():
            others = rows[name][rows[name] != ours]
            if len(others) and not self.show:
                raise InputError(
                    f"{file}: its rows are of {name} {others.iloc[0]}, got {ours}; name another "
                    "--table"
                )
        return rows
