"""Pack a system's test predictions for GLUE's leaderboard, or say what is missing.

The leaderboard takes one zip of eleven files with fixed names, row counts and label words [GLUE
benchmark, submission instructions]. A file that is short or misnamed fails the whole upload, so
nothing is packed until everything is there.
"""

import csv
import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinybert.runtime.outputs import replace_file
from tinybert.tasks.glue import spelling

WNLI = "WNLI.tsv"
WNLI_ROWS = 146
# Its training and dev sets contradict each other, so that nothing learns it; as is the custom
# since BERT, the majority class is handed in and WNLI stays out of the averages.
WNLI_MAJORITY = "0"
PACKED, MISSING = "glue.zip", "missing.txt"
STSB_RANGE = (0.0, 5.0)


@dataclass(frozen=True)
class Upload:
    """One file of the zip.

    Args:
        file: Its name in the zip.
        glue: Name of the GLUE task whose model predicts it, as in a task file's `glue`.
        split: Which split of that task.
        num_rows: What the leaderboard counts.
        words: Our label names -> the leaderboard's words; empty for a regression.
    """

    file: str
    glue: str
    split: str
    num_rows: int
    words: Mapping[str, str]


def _numbers(*labels: str) -> dict[str, str]:
    """Number labels from 0; a label that already is its number stays."""
    return {name: str(n) for n, label in enumerate(labels) for name in (label, str(n))}


def _same(*labels: str) -> dict[str, str]:
    return {label: label for label in labels}


_PAIR = _same("entailment", "not_entailment")
_NLI = _same("entailment", "neutral", "contradiction")
UPLOADS = (
    Upload("CoLA.tsv", "CoLA", "test", 1063, _numbers("unacceptable", "acceptable")),
    Upload("SST-2.tsv", "SST-2", "test", 1821, _numbers("negative", "positive")),
    Upload("MRPC.tsv", "MRPC", "test", 1725, _numbers("not_equivalent", "equivalent")),
    Upload("QQP.tsv", "QQP", "test", 390965, _numbers("not_duplicate", "duplicate")),
    Upload("STS-B.tsv", "STS-B", "test", 1379, {}),
    Upload("MNLI-m.tsv", "MNLI", "test", 9796, _NLI),
    Upload("MNLI-mm.tsv", "MNLI", "test_mm", 9847, _NLI),
    Upload("QNLI.tsv", "QNLI", "test", 5463, _PAIR),
    Upload("RTE.tsv", "RTE", "test", 3000, _PAIR),
    Upload("AX.tsv", "MNLI", "ax", 1104, _NLI),
)
WNLI_UPLOAD = Upload(WNLI, "WNLI", "test", WNLI_ROWS, _numbers("not_entailment", "entailment"))


def write_submission(tasks: Mapping[str, str], predictions: Path, folder: Path) -> list[str]:
    """Write `glue.zip`, or `missing.txt` that lists why there is none, in the place of old ones.

    Args:
        tasks: GLUE's task name, in any spelling -> ours, for the tasks of this run.
        predictions: A system's folder of `<task>/<split>.tsv`, with `index` and `prediction`.
        folder: Where to write; made if need be.

    Returns:
        What is missing or wrong; empty if the zip was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PACKED, MISSING):
        (folder / name).unlink(missing_ok=True)
    contents, problems = read_uploads(tasks, predictions)
    if problems:
        text = "No GLUE submission, because these are missing or wrong:\n" + "\n".join(problems)
        (folder / MISSING).write_text(text + "\n", encoding="utf-8")
    else:
        _write_zip(folder / PACKED, contents)
    return problems


def wnli_source(tasks: Mapping[str, str]) -> str:
    """Say in words where WNLI's predictions come from; `tasks` as for `write_submission`."""
    for glue, task in tasks.items():
        if spelling(glue) == spelling(WNLI_UPLOAD.glue):
            return f"WNLI is predicted by the task {task}"
    return f"WNLI is the majority class ({WNLI_MAJORITY}) for all rows, as is the custom"


def read_uploads(
    tasks: Mapping[str, str], predictions: Path
) -> tuple[dict[str, list[str]], list[str]]:
    """Return each file's words, and one line for each that is missing or wrong."""
    contents: dict[str, list[str]] = {}
    problems: list[str] = []
    ours = {spelling(glue): task for glue, task in tasks.items()}
    uploads = list(UPLOADS)
    if spelling(WNLI_UPLOAD.glue) in ours:
        uploads.append(WNLI_UPLOAD)
    else:
        contents[WNLI] = [WNLI_MAJORITY] * WNLI_ROWS
    for upload in uploads:
        if spelling(upload.glue) not in ours:
            problems.append(
                f"{upload.file}: task {upload.glue} is not among params.yaml's tasks; add it"
            )
            continue
        file = predictions / ours[spelling(upload.glue)] / f"{upload.split}.tsv"
        contents[upload.file], wrong = read_upload(upload, file)
        problems += wrong
    return contents, problems


def read_upload(upload: Upload, file: Path) -> tuple[list[str], list[str]]:
    """Translate a prediction file into the leaderboard's words.

    Returns:
        The words in the order of the rows, and one line per kind of problem.
    """
    try:
        return _words(upload, file), []
    except ValueError as wrong:
        return [], [f"{upload.file}: {file} {wrong}"]


def _words(upload: Upload, file: Path) -> list[str]:
    if not file.is_file():
        raise ValueError("is missing; run `dvc repro` with the task's test split")
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (UnicodeDecodeError, csv.Error) as error:
        cure = "delete it and run `dvc repro evaluate`"
        raise ValueError(f"cannot be read, got {error}; {cure}") from error
    if len(rows) != upload.num_rows:
        raise ValueError(
            f"must have {upload.num_rows} rows, got {len(rows)}; use GLUE's own test file"
        )
    if any(row.get("index") != str(n) for n, row in enumerate(rows)):
        raise ValueError("must count its rows 0, 1, 2, ... in `index`; run `dvc repro evaluate`")
    values = [row.get("prediction") or "" for row in rows]
    words = [upload.words.get(value, "") if upload.words else _clipped(value) for value in values]
    if strange := sorted({value for value, word in zip(values, words, strict=True) if not word}):
        expected = " ".join(upload.words) or "numbers"
        raise ValueError(
            f"has unknown predictions, got {', '.join(strange[:5])}; expected {expected}"
        )
    return words


def _clipped(text: str) -> str:
    """Bring a similarity into the range of the gold scores; return nothing if it is no number."""
    try:
        score = float(text)
    except ValueError:
        return ""
    low, high = STSB_RANGE
    return "" if math.isnan(score) else f"{min(max(score, low), high):.3f}"


def _write_zip(target: Path, contents: Mapping[str, list[str]]) -> None:
    with (
        replace_file(target) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, words in sorted(contents.items()):
            text = io.StringIO()
            text.write("index\tprediction\n")
            text.writelines(f"{index}\t{word}\n" for index, word in enumerate(words))
            # A fixed date, so that the same predictions give the same bytes.
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text.getvalue())
