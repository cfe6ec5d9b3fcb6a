"""Check every params file that the selected profile, tasks and systems use, before anything slow.

A misspelt key of the last stage is found by the first one, not after hours.

python -m stages._check_params [FOLDER...]    # each with its own params.yaml and params/
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import chdir
from functools import partial
from itertools import product
from pathlib import Path

from pydantic import Field

from tinybert.augmentation.sections import AugmentSettings
from tinybert.deployment.sections import BenchmarkLatencySettings, ExportSettings
from tinybert.distillation.sections import TeacherLogitsSettings
from tinybert.encoders.sections import FetchTeacherSettings
from tinybert.encoders.teacher_source import TeacherSource
from tinybert.reports.comparison import TABLES, read_published
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.runtime.precision import Precision
from tinybert.settings.choices import Loss
from tinybert.settings.names import require_distinct, require_names, strange_files
from tinybert.settings.reader import (
    PARAMS,
    Settings,
    named_file,
    parse,
    profile_file,
    read_section,
    read_task,
    read_yaml,
)
from tinybert.settings.schedule import Grid, Schedule
from tinybert.settings.systems import OutputPhase, read_system_file
from tinybert.tasks.phase_rows import require_unlabelled
from tinybert.tasks.sections import PrepareTaskSettings
from tinybert.tasks.task_file import TaskFile
from tinybert.text.sections import PrepareCorpusSettings, WordVectorsSettings
from tinybert.training.sections import GeneralDistillSettings, IntermediateDistillSettings

# What the section of each stage that has one may say, by the stage's name.
SECTIONS: dict[str, type[Settings]] = {
    "fetch_teacher": FetchTeacherSettings,
    "prepare_corpus": PrepareCorpusSettings,
    "word_vectors": WordVectorsSettings,
    "prepare_task": PrepareTaskSettings,
    "finetune_teacher": Grid,
    "general_distill": GeneralDistillSettings,
    "augment": AugmentSettings,
    "teacher_logits": TeacherLogitsSettings,
    "intermediate_distill": IntermediateDistillSettings,
    "prediction_distill": Grid,
    "export": ExportSettings,
    "benchmark_latency": BenchmarkLatencySettings,
}
ENDLESS = 1000  # epochs, which stand for as many as max_steps lets


class LossSection(Loss):
    """The section `loss`, with every key there."""

    attn_weight: float = Field(ge=0)
    hidden_weight: float = Field(ge=0)
    embedding_weight: float = Field(ge=0)
    prediction_weight: float = Field(ge=0)
    temperature: float = Field(gt=0)


class Sources(Settings):
    """The section `sources`: folders that DVC watches."""

    tasks: str
    corpus: str
    word_vectors: str
    teacher: str


class ParamsFile(Settings):
    """params.yaml."""

    profile: str
    seed: int = Field(ge=0, lt=2**32)
    precision: Precision
    torch_compile: bool
    tasks: list[str] = Field(min_length=1)
    systems: list[str] = Field(min_length=1)
    loss: LossSection
    sources: Sources


def check_params() -> None:
    """Check params.yaml and the profile, task and system files it selects.

    Raises:
        InputError: One line for each problem of each file.
    """
    values = read_yaml(PARAMS)
    require_names(values)
    params = parse(ParamsFile, values, str(PARAMS))
    require_distinct(Path(), params.systems, params.tasks)
    for line in strange_files(Path()):
        print(line, file=sys.stderr)  # nothing chooses it, so nothing stops
    problems: list[str] = []
    checks: list[Callable[[], object]] = [partial(_check_profile, params.profile)]
    checks += [partial(read_task, name, TaskFile) for name in params.tasks]
    checks += [partial(_check_system, name) for name in params.systems]
    for key, names in (("tasks", params.tasks), ("systems", params.systems)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problems.append(f"{PARAMS}: {key}: named twice, got {', '.join(twice)}; name each once")
    for check in checks:
        try:
            check()
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(*problems)
    # They read all files, so those must be right.
    _check_masked_lm(params.systems)
    _check_unlabelled(params.systems, params.tasks)


def _check_profile(profile: str) -> None:
    file = named_file("profiles", profile)
    found = read_yaml(file)
    schemas: dict[str, type[Settings]] = {"teacher": TeacherSource} | SECTIONS
    problems = [
        f"{file}: {name}: unknown section, got {name!r}; known: {', '.join(schemas)}"
        for name in found
        if name not in schemas
    ]
    for name, schema in schemas.items():
        if name not in found:
            problems.append(f"{file}: {name}: is missing, got nothing; add the section")
            continue
        try:
            section = parse(schema, found[name], f"{file}: {name}")
        except InputError as error:
            problems.extend(error.problems)
            continue
        if not isinstance(section, Schedule | Grid) or section.max_steps is not None:
            continue
        if section.num_epochs >= ENDLESS:
            problems.append(
                f"{file}: {name}: max_steps must end so many epochs, got null beside num_epochs "
                f"{section.num_epochs:g}; write how many steps"
            )
    if problems:
        raise InputError(*problems)


def _check_system(name: str) -> None:
    """Check a system's file, and that the row it stands for is one: the report would lack it."""
    file, row = named_file("systems", name), read_system_file(name).published
    tables = read_published()
    rows = dict.fromkeys(each for table in TABLES.values() for each in tables[table]["rows"])
    if row is not None and row not in rows:
        raise InputError(
            f"{file}: published: is no row of the paper's table, got {row!r}; known: "
            f"{', '.join(rows)}; leave the key out where it stands for none"
        )


def _check_masked_lm(systems: Sequence[str]) -> None:
    """Refuse a system that hides words beside a profile that makes no masked-word model."""
    if read_section("fetch_teacher", FetchTeacherSettings).masked_lm:
        return
    problems = [
        f"{named_file('systems', name)}: general_distill hides words, which needs the masked-word "
        f"model, got fetch_teacher.masked_lm false in {profile_file()}; write true"
        for name in systems
        if read_system_file(name).general_distill.hides_words
    ]
    if problems:
        raise InputError(*problems)


def _check_unlabelled(systems: Sequence[str], tasks: Sequence[str]) -> None:
    """Refuse a system that names unlabelled rows beside a task that has none."""
    sampled_pairs = read_section("prepare_task", PrepareTaskSettings).sampled_pairs
    files = {name: read_task(name, TaskFile) for name in tasks}
    has = {name: task.has_unlabelled(sampled_pairs) for name, task in files.items()}
    problems: list[str] = []
    for name in systems:
        file, system = named_file("systems", name), read_system_file(name)
        phases = {"intermediate_distill": system.intermediate_distill.data}
        phase: OutputPhase | None = system.prediction_distill
        key = "prediction_distill"
        while phase is not None:
            phases[key] = phase.data
            phase, key = phase.then, f"{key}.then"
        for (key, data), task in product(phases.items(), tasks):
            try:
                require_unlabelled(data, has[task], task)
            except InputError as error:
                problems.extend(f"{file}: {key}.{line}" for line in error.problems)
    if problems:
        raise InputError(*problems)


def check_folders(folders: Sequence[str]) -> None:
    """Check the params of several folders.

    Raises:
        InputError: One line for each problem, said once.
    """
    problems = dict[str, None]()
    for folder in folders:
        try:
            with chdir(folder):
                check_params()
        except InputError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise InputError(*problems)


if __name__ == "__main__":
    with ends_with_its_lines():
        check_folders(sys.argv[1:] or ["."])
