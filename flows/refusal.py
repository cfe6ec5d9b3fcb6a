"""Say in one line what a flow refuses, where a person who started the run looks."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import runtime
from prefect.client.orchestration import get_client

from tinybert.runtime.errors import InputError

LOGGERS = ("prefect.flow_runs", "prefect.engine")


@contextmanager
def refusal_named() -> Iterator[None]:
    """Name the flow run by what it refuses; `prefect deployment run --watch` shows nothing else."""
    try:
        yield
    except InputError as error:
        with get_client(sync_client=True) as client:
            client.update_flow_run(runtime.flow_run.id, name=refused(error))
        raise


def refused(error: InputError) -> str:
    """Return the name of a run that is refused."""
    return f"refused: {'; '.join(error.problems)}"


class OneLine(logging.Filter):
    """Leaves of a refused run the line that says why, once, without a traceback."""

    last: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is printed."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, InputError):
            return True
        record.msg, record.args = "%s", (str(error),)
        record.exc_info = record.exc_text = None
        seen, self.last = error is self.last, error
        return not seen


ONE_LINE = OneLine()


def print_refusals_in_one_line() -> None:
    """Filter what ends a flow run: its own messages, and those of the process that runs it."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(ONE_LINE)
