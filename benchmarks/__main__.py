"""Run subjects, each in a process of its own, and print one table of them all."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import SUBJECTS, machine, options, result
from tinybert.runtime.errors import InputError, ends_with_its_lines


def main() -> None:
    """Measure what the command line names."""
    parser = options.parser()
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--here", action="store_true", help="in this process; one subject")
    given = parser.parse_args()
    unknown = sorted(set(given.subjects) - set(SUBJECTS))
    if unknown:
        raise InputError(f"subjects: unknown, got {unknown[0]!r}; known: {', '.join(SUBJECTS)}")
    chosen = options.read(given)
    if given.here:
        (subject,) = given.subjects
        found = importlib.import_module(f"benchmarks.{subject}").measure(chosen)
        result.write(found, machine.describe(chosen.device), _file(chosen, subject))
        return
    common = [argument for argument in sys.argv[1:] if argument not in given.subjects]
    for subject in given.subjects or SUBJECTS:
        print(f"{subject} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks", subject, "--here", *common]
        if subprocess.run(command, check=False).returncode:
            raise InputError(
                f"{subject}: ended with an error, see above; run it alone to try again"
            )
        found = json.loads(_file(chosen, subject).read_text(encoding="utf-8"))["results"]
        result.show(found)


def _file(chosen: options.Options, subject: str) -> Path:
    return chosen.out / f"{subject}-{chosen.shapes}.json"


if __name__ == "__main__":
    with ends_with_its_lines():
        main()
