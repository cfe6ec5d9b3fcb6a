"""Write down how long each stage took, and read it back.

One small file for each stage, outside DVC's outputs: seconds differ from run to run, and what is
hashed must not. A stage whose outputs come from the cache keeps the time of its last run here.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from tinybert.runtime.outputs import write_json
from tinybert.settings.reader import read_json

FOLDER = Path("reports/times")


class Took(BaseModel):
    """reports/times/<stage>@<arguments>.json."""

    stage: str
    arguments: list[str]
    seconds: float = Field(ge=0, allow_inf_nan=False)


def write_seconds(stage: str, arguments: Sequence[str], seconds: float) -> None:
    """Write down the wall-clock seconds of a stage that has ended well."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    took = Took(stage=stage, arguments=list(arguments), seconds=round(seconds, 1))
    file = FOLDER / f"{'@'.join([stage, *arguments])}.json"
    write_json(took.model_dump(), file)


def read_seconds(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Read how long each stage took, longest first, summed over its systems and tasks.

    Args:
        folder: With the files; it may be missing.
        names: The systems and tasks of this run; a stage of another one does not count.

    Raises:
        InputError: A file is damaged.
    """
    found: dict[str, float] = {}
    for file in sorted(folder.glob("*.json")):
        took: Took = read_json(file, Took, "dvc repro")
        if set(took.arguments) <= set(names):
            found[took.stage] = found.get(took.stage, 0.0) + took.seconds
    return dict(sorted(found.items(), key=lambda item: -item[1]))
