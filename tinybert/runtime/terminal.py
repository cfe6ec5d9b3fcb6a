"""Print on whatever is there: a terminal without Unicode, a pipe whose reader leaves, or nothing.

What a stage makes is in its files, so that no output of its own may end it.
"""

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

PLAIN = {
    "\N{EN DASH}": "-",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-",
    "\N{BOX DRAWINGS HEAVY HORIZONTAL}": "-",
    "\N{BULLET}": "*",
}


def make_output_safe() -> None:
    """Let printing fail neither for a character, nor for a closed output, nor for a left pipe.

    Side effects: stdout and stderr are replaced, unless something else has taken their place.
    """
    codecs.register_error("plain", _plain)
    for number in (0, 1, 2):  # a free one would go to the next file, and be printed into
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _safe(sys.stdout, 1)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _safe(sys.stderr, 2)


def _safe(stream: TextIO | None, number: int) -> TextIO:
    if stream is not None:
        with suppress(BrokenPipeError):
            stream.flush()
    raw = _Lasting(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="plain",
        line_buffering=number == 2 or raw.isatty(),
    )


class _Lasting(io.FileIO):
    """An output that goes on into nothing once its reader has left."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            return super().write(data)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding lacks: by a like character, or by its escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (each.encode("ascii", "backslashreplace").decode() for each in lacking)
    words = "".join(PLAIN.get(c, e) for c, e in zip(lacking, escaped, strict=True))
    return words, error.end
