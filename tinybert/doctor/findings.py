"""What the doctor finds: right ones in one line, a line for each doubt, wrong ones refused."""

import os
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Literal, NamedTuple, ParamSpec, cast, get_args

from tinybert.runtime.errors import InputError
from tinybert.runtime.processes import rank

Level = Literal["right", "doubt", "wrong"]
Mode = Literal["refuse", "warn", "off"]
P = ParamSpec("P")
MODE = "TINYBERT_DOCTOR"  # refuse | warn: what is wrong is only printed | off: nothing is checked


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        level: `right`, `doubt`, or `wrong`: refused.
        line: What was found, and for a wrong one, what cures it.
    """

    level: Level
    line: str


right = partial(Finding, "right")  # asks for nothing
doubt = partial(Finding, "doubt")  # to think about
wrong = partial(Finding, "wrong")  # *place: what is wrong, got value; what would be right*


def as_findings(check: Callable[P, Iterable[Finding] | None]) -> Callable[P, list[Finding]]:
    """Make a check return what it finds; what it refuses by an `InputError` is wrong."""

    @wraps(check)
    def findings(*arguments: P.args, **named: P.kwargs) -> list[Finding]:
        try:
            return list(check(*arguments, **named) or [])
        except InputError as error:
            return [wrong(problem) for problem in error.problems]

    return findings


def mode() -> Mode:
    """Return what becomes of wrong findings, from the environment.

    No parameter, because another value is no reason to train again.

    Raises:
        InputError: The variable has another value.
    """
    found = os.environ.get(MODE) or "refuse"
    if found not in get_args(Mode):
        raise InputError(
            f"{MODE}: unknown value, got {found!r}; write one of {', '.join(get_args(Mode))}"
        )
    return cast(Mode, found)


def report(place: str, findings: Iterable[Finding]) -> None:
    """Print what was found, the first of several processes alone.

    Args:
        place: The stage's name and arguments.
        findings: In the order to print; the right ones share a line.

    Raises:
        InputError: Something is wrong, and the doctor is not told to warn only.
    """
    findings = list(findings)
    by = {level: [f.line for f in findings if f.level == level] for level in get_args(Level)}
    warns = mode() == "warn"
    if not rank():
        lines = ["; ".join(by["right"])] if by["right"] else []
        lines += [f"doubt: {line}" for line in by["doubt"]]
        lines += [f"WRONG, gone on with: {line}" for line in by["wrong"] if warns]
        for line in lines:
            print(f"{place}: {line}", flush=True)
    if by["wrong"] and not warns:
        raise InputError(*by["wrong"])
