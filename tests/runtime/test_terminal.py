"""What is printed reaches any terminal, and no terminal ends a run."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from stages.report import print_text
from tests.fixtures.workspace import ROOT

STAGE = """
import os
import sys
from pathlib import Path
import stages
stages._check_params_once = lambda: None
def main() -> str:
    for number in range(20000):
        print("row", number, "0.5 \\u2013 \\u00b1 \\u65e5", flush=True)
    with Path(sys.argv[0]).with_suffix(".made").open("w") as file:
        os.system("echo what a library of another language prints")
        file.write("made")
    return "made it"
stages.run(main)
"""


def stage_of(
    folder: Path, shell: str, **environment: str
) -> tuple[subprocess.CompletedProcess, Path]:
    """Run a stage that prints a lot, with its output as a shell directs it."""
    file = folder / "noisy.py"
    file.write_text(STAGE, encoding="utf-8")
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = f"exec {sys.executable} {file} {shell}"
    if "|" in shell:
        command = f"set -o pipefail; {sys.executable} {file} {shell}"
    done = subprocess.run(["bash", "-c", command], env=settings, capture_output=True, text=True)
    return done, file.with_suffix(".made")


def test_a_reader_that_leaves_does_not_end_the_stage(tmp_path):
    done, made = stage_of(tmp_path, "| head -n 1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("row 0") and made.is_file()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_output_does_not_end_the_stage(closed, tmp_path):
    done, made = stage_of(tmp_path, closed)
    assert (done.returncode, done.stderr) == (0, "")
    assert made.read_text() == "made"  # and nothing was printed into it


@pytest.mark.parametrize(
    "settings",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}],
)
def test_what_an_encoding_lacks_is_written_plainly(settings, tmp_path):
    done, made = stage_of(tmp_path, "", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert made.is_file()
    assert done.stdout.startswith("row 0 0.5 - +- \\u65e5\n")


@pytest.mark.parametrize("settings", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"COLUMNS": "40"}])
def test_a_table_loses_no_figure_on_any_terminal(settings, monkeypatch, capsys):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    long = "a_system_with_a_name_longer_than_some_terminals"
    text = pd.DataFrame(
        {"F1 dev": ["12.3", "45.6"], ":smile: [x]": ["1", "2"]}, index=["[/]", long]
    )
    print_text(text, ["[red]note[/red] [/]"], ["F1 dev"])
    shown = capsys.readouterr().out
    for figure in ("[/]", long, "12.3", "45.6", ":smile:", "[x]", "[red]note[/red] [/]"):
        assert figure in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown and "\x1b" not in shown
