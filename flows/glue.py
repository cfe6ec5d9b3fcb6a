"""Run GLUE's real tasks from a local folder, with text and vectors of the user's.

python -m flows.glue --glue-dir FOLDER --corpus FOLDER [--glove FILE] [--group NAME]
    [--profile NAME] [--tasks A,B] [--systems A,B] [--slots N]
"""

import argparse
import re
import sys
from pathlib import Path

from flows.experiments import Asked, require_valid
from flows.overrides import change_params, select
from flows.request import Request, SystemGroup, read_group
from flows.side_by_side import add_slots_option
from flows.side_by_side import main as side_by_side
from flows.walk import save_experiment
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.settings.names import split_names
from tinybert.settings.reader import read_yaml

USUAL = SystemGroup(
    description="What `make glue` runs where no group is named",
    profile="glue-small",
    tasks=["sst2", "mrpc", "qnli"],
    systems=["closed_form_mini", "scratch_mini"],
)
# What a profile must say so that the user's files are read.
SOURCES = {
    "glue_dir": ("sources.tasks", "prepare_task.glue=folder"),
    "corpus": ("sources.corpus", "prepare_corpus.source=files"),
    "glove": ("sources.word_vectors", "word_vectors.source=file"),
}


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the user's files are; empty means not given, as in make."""
    parser.add_argument("--glue-dir", default="", help="the folder that holds CoLA, MRPC, ...")
    parser.add_argument("--corpus", default="", help="a folder of .txt files, or one file")
    parser.add_argument("--glove", default="", help="a GloVe text file")
    parser.add_argument("--profile", default="", help="a file of params/profiles")


def source_overrides(root: Path, given: argparse.Namespace, profile: str) -> list[str]:
    """Return the overrides by which a profile reads the user's files.

    Raises:
        InputError: A file or folder does not exist.
    """
    found, problems = [], []
    for name, (source, switch) in SOURCES.items():
        place = getattr(given, name)
        if not place:
            continue
        if not Path(place).exists():
            problems.append(f"{name.upper()}: no such file or folder, got {place}; name one")
            continue
        found.append(f"{source}={_quoted(str(Path(place).absolute()))}")
        if not _says(root, profile, switch):
            found.append(f"params/profiles/{profile}.yaml:{switch}")
    if problems:
        raise InputError(*problems)
    return found


def _quoted(text: str) -> str:
    """Quote a text for Hydra, to which a backslash is itself but before a quote."""
    doubled = re.sub(r'\\+(?="|\Z)', r"\g<0>\g<0>", text)
    return '"' + doubled.replace('"', r"\"") + '"'


def _says(root: Path, profile: str, switch: str) -> bool:
    file = root / f"params/profiles/{profile}.yaml"
    key, _, value = switch.partition("=")
    # An unknown profile is refused by its name.
    return not file.is_file() or select(read_yaml(file), key) == value


def main(arguments: list[str]) -> None:
    """Check what is asked for, and run it in the workspace.

    Raises:
        InputError: It cannot be run; nothing ran.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.glue")
    add_source_options(parser)
    for name in ("group", "tasks", "systems"):
        parser.add_argument(f"--{name}", default="")
    add_slots_option(parser)
    given, root = parser.parse_args(arguments), Path.cwd()
    missing = [
        f"{name.upper()}: is missing, got nothing; {cure}"
        for name, cure in (
            ("glue_dir", "name the folder that holds CoLA, MRPC, ..."),
            ("corpus", "name a folder of .txt files, or one file"),
        )
        if not getattr(given, name)
    ]
    if missing:
        raise InputError(*missing)
    group = read_group(root, given.group) if given.group else USUAL
    profile = given.profile or group.profile
    request = Request(
        profile=profile,
        tasks=split_names(given.tasks) or group.tasks,
        systems=split_names(given.systems) or group.systems,
        overrides=[*source_overrides(root, given, profile), *group.overrides_of(profile)],
    )
    overrides = request.all_overrides()
    require_valid(root, [Asked("glue", overrides)], queued=False)
    change_params(root, overrides)
    side_by_side(root, given.slots)
    save_experiment(root, print)  # as `dvc exp run` does


if __name__ == "__main__":
    with ends_with_its_lines():
        main(sys.argv[1:])
