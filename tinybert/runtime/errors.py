"""The one exception that means "the input is wrong", as opposed to "the code is wrong"."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# What ends a line or steers a terminal, and half characters, which cannot be printed at all.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class InputError(Exception):
    """Say in one line where the input is wrong, what is wrong, and what would be right.

    Args:
        problems: One line each: *place: what is wrong, got value; what would be right*.
            All problems of one file are reported together. Line ends and control characters, as
            a name or a value may hold them, are escaped.
    """

    def __init__(self, *problems: str) -> None:
        problems = tuple(UNPRINTABLE.sub(_escaped, problem) for problem in problems)
        super().__init__("\n".join(problems))
        self.problems = problems


def in_one_line(error: Exception) -> str:
    """Return what a library's error says, its line ends and runs of spaces as one space."""
    return " ".join(str(error).split())


@contextmanager
def ends_with_its_lines() -> Iterator[None]:
    """End a command with exit code 1 and its problems' lines, or quietly where it is stopped."""
    try:
        yield
    except InputError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
