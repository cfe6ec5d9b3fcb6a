"""Look at everything that hours of training will rest on, and say how many hours those are.

python -m stages._doctor [--system SYSTEM] [--task TASK]

Nothing needs to have run. Exit code 1 if something is wrong, with a line for each.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

import stages
from stages._check_params import SECTIONS, check_params
from tinybert.deployment.latency import processor_name
from tinybert.distillation.distillation import phase_weights
from tinybert.doctor import room, workspace
from tinybert.doctor.findings import Finding, as_findings, wrong
from tinybert.doctor.forecast import (
    Forecast,
    corpus_sample,
    forecast,
    layer_model,
    of_phase,
    output_model,
    task_sample,
    teacher_model,
)
from tinybert.doctor.pace import shown_time
from tinybert.encoders.checkpoints import load_config, load_tokenizer
from tinybert.encoders.teacher_source import TeacherSource, locate_teacher
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.runtime.precision import Precision, autocast_dtype, computing_device
from tinybert.runtime.processes import num_processors
from tinybert.runtime.repository import require_commit
from tinybert.runtime.terminal import make_output_safe
from tinybert.settings.choices import Loss
from tinybert.settings.reader import (
    PARAMS,
    named_file,
    parse,
    read_param,
    read_section,
    read_yaml,
)
from tinybert.settings.systems import SystemFile
from tinybert.tasks.phase_rows import default_data
from tinybert.tasks.task_file import TaskFile
from tinybert.training.run import Run

DISTILLATION = ("general_distill", "intermediate_distill", "prediction_distill")
READ = (
    "prepare_corpus",
    "fetch_teacher",
    "word_vectors",
    "prepare_task",
    "augment",
    "finetune_teacher",
    "teacher_logits",
    *DISTILLATION,
)


class Setup(NamedTuple):
    """What params.yaml and the files it names say."""

    run: Run
    systems: dict[str, SystemFile]
    tasks: dict[str, TaskFile]
    sections: dict[str, Any]
    teacher: TeacherSource
    sources: dict[str, str]
    loss: Loss

    def weights(self, system: str, stage: str) -> dict[Any, float]:
        """Return the weighted terms of a system's phase."""
        phase = getattr(self.systems[system], stage)
        return dict(phase_weights(phase.terms, self.loss, getattr(phase, "weights", None)))


def read_setup(system: str | None, task: str | None) -> Setup:
    """Read every file that the run will use, checked.

    Args:
        system: The only one to look at; None: all of params.yaml.
        task: Likewise.

    Raises:
        InputError: One line for each problem of each file.
    """
    check_params()
    sections = {name: read_section(name, SECTIONS[name]) for name in READ}
    run = Run(
        phase="",
        checkpoints=Path("checkpoints/doctor/none"),
        seed=read_param("seed", int),
        dtype=autocast_dtype(read_param("precision", Precision)),
    )
    systems = [system] if system else read_param("systems", list[str])
    tasks = [task] if task else read_param("tasks", list[str])
    return Setup(
        run,
        {name: _read("systems", name, SystemFile) for name in systems},
        {name: _read("tasks", name, TaskFile) for name in tasks},
        sections,
        read_section("teacher", TeacherSource),
        read_param("sources", dict[str, str]),
        parse(Loss, read_param("loss", dict[str, float]), f"{PARAMS}: loss"),
    )


def _read(folder: str, name: str, kind: Any) -> Any:
    file = named_file(folder, name)
    return parse(kind, read_yaml(file), str(file))


def reads_vectors(setup: Setup) -> bool:
    """Return whether the word vectors of copies are read from a file."""
    sections = setup.sections
    return bool(sections["augment"].num_copies and sections["word_vectors"].source == "file")


def findings(setup: Setup, pretrained: Path) -> Iterator[tuple[str, list[Finding]]]:
    """Look at the corpus, each task and each system; yield its name and what was found."""
    found_at = {pretrained: None}
    if setup.teacher.source != "hub":
        found_at[locate_teacher(setup.teacher, Path(setup.sources["teacher"]))] = None
    num_copies = setup.sections["augment"].num_copies
    masked_lm = setup.sections["fetch_teacher"].masked_lm
    yield "teacher", workspace.look_at_pretrained(list(found_at), num_copies, masked_lm)
    block_length = setup.sections["prepare_corpus"].block_length
    yield "corpus", workspace.look_at_corpus(pretrained, block_length)
    for name, system in setup.systems.items():
        phases = ("general_distill", "intermediate_distill")
        weights = {phase: setup.weights(name, phase) for phase in phases}
        yield name, workspace.look_at_system(system, pretrained, weights)
    matched = any(setup.weights(name, "intermediate_distill") for name in setup.systems)
    for name, task in setup.tasks.items():
        yield name, workspace.look_at_task(name, task, setup.run.dtype, pretrained, matched)


def forecasts(setup: Setup, pretrained: Path) -> Iterator[Forecast]:
    """Measure fine-tuning of every task, and the distillation stages of every system and task."""
    sections, run = setup.sections, setup.run
    config, tokenizer = load_config(pretrained), load_tokenizer(pretrained)
    size = int(config.vocab_size)
    corpus = corpus_sample(workspace.CORPUS, sections["prepare_corpus"].block_length, size)
    copies = (sections["augment"].num_copies, sections["augment"].max_rows)
    sampled_pairs = sections["prepare_task"].sampled_pairs
    samples = {
        name: task_sample(name, task, pretrained, copies, size, sampled_pairs)
        for name, task in setup.tasks.items()
    }
    for task, sample in samples.items():
        if setup.tasks[task].teacher is None:
            own = replace(run, phase=f"finetune_teacher {task}")
            schedules = sections["finetune_teacher"].schedules()
            rows = of_phase(sample, "original")
            yield forecast(teacher_model(config), rows, schedules, own, True)
    for name, system in setup.systems.items():
        general, inter = (
            layer_model(system, config, tokenizer, phase, setup.weights(name, stage), run.dtype)
            for stage, phase in (
                ("general_distill", system.general_distill),
                ("intermediate_distill", system.intermediate_distill),
            )
        )
        if general:
            schedule = system.general_distill.schedule(sections["general_distill"])
            own = replace(run, phase=f"general_distill {name}")
            yield forecast(general, corpus, [schedule], own, False)
        final = output_model(system, config, setup.run.dtype)
        grid = system.prediction_distill.grid(sections["prediction_distill"])
        last, scored = system.prediction_distill, sections["teacher_logits"]
        for task, sample in samples.items():
            about = setup.tasks[task]
            further = about.has_unlabelled(sampled_pairs)
            if inter:
                phase, profile = system.intermediate_distill, sections["intermediate_distill"]
                data = phase.data or default_data(further)
                schedule = phase.schedule(profile, about.epochs_scale)
                own = replace(run, phase=f"intermediate_distill {name} {task}")
                yield forecast(inter, of_phase(sample, data), [schedule], own, False)
            if final:
                gold = "label" in last.terms
                data = last.data or default_data(further, about.prediction_data, gold)
                limits = (scored.max_rows, scored.max_unlabelled_rows)
                rows = of_phase(sample, data, *limits)
                own = replace(run, phase=f"prediction_distill {name} {task}")
                points = grid.schedules() * len(last.choices())
                yield forecast(final, rows, points, own, True)


def judge(found: list[Forecast]) -> list[Finding]:
    """Say whether disk and memory suffice for the largest stage, and all of them together."""
    disk = room.judge_disk(sum(each.disk for each in found), Path())
    needs = [each.memory for each in found]
    memory = None if None in needs else max((need for need in needs if need), default=0)
    available = room.available_memory(computing_device())
    judged = room.judge_memory(memory, available, "lower batch_size in the profile")
    return [disk, judged, *room.judge_load(": times are too long")]


def show(found: list[Forecast]) -> None:
    """Print the forecasts as a table."""
    table = Table("stage", box=None)
    for column in ("steps", "s a step", "about", "GB memory", "GB disk"):
        table.add_column(column, justify="right")
    for each in found:
        steps = "?" if each.steps is None else f"{each.steps:,}"
        time = "?" if each.seconds is None else shown_time(each.seconds)
        memory = "?" if each.memory is None else room.gigabytes(each.memory)
        speed, disk = f"{each.seconds_per_step:.2g}", room.gigabytes(each.disk)
        table.add_row(each.stage, steps, speed, time, memory, disk)
    total = shown_time(sum(each.seconds or 0 for each in found))
    more = " and what is not known yet" if any(each.seconds is None for each in found) else ""
    table.add_row("in all", "", "", total + more, "", "")
    Console(width=110, markup=False, emoji=False).print(table)


def main(system: str | None, task: str | None) -> bool:
    """Look at everything; return whether nothing is wrong."""
    setup = read_setup(system, task)
    device, dtype = computing_device(), setup.run.dtype
    name, num = processor_name(device), num_processors()
    print(f"processor: {name}, {num} cores, {'bf16' if dtype else 'fp32'}", flush=True)
    problems = tell("git", as_findings(require_commit)(Path.cwd()))
    problems += tell("sources", workspace.look_at_sources(setup.sources, reads_vectors(setup)))
    try:
        pretrained = workspace.pretrained_folder(setup.teacher, setup.sources["teacher"])
    except InputError as error:
        tell("teacher", [wrong(problem) for problem in error.problems])
        return False
    for place, found in findings(setup, pretrained):
        problems += tell(place, found)
    if problems:
        return False  # times of what will not run say nothing
    planned: list[Forecast] = []

    @as_findings
    def measure() -> list[Finding]:
        planned.extend(forecasts(setup, pretrained))
        return judge(planned)

    found = measure()
    show(planned)
    return not tell("room", found)


def tell(place: str, found: list[Finding]) -> int:
    """Print what was found in one place; return how much of it is wrong."""
    fine = "; ".join(each.line for each in found if each.level == "right")
    if fine:
        print(f"{place}: {fine}", flush=True)
    for each in found:
        if each.level != "right":
            stream = sys.stderr if each.level == "wrong" else sys.stdout
            print(f"{place}: {each.level.upper()}: {each.line}", file=stream, flush=True)
    return sum(each.level == "wrong" for each in found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", help="of params/systems/; all of params.yaml without")
    parser.add_argument("--task", help="of params/tasks/; all of params.yaml without")
    given = parser.parse_args()
    stages.quieten_libraries()
    make_output_safe()
    with ends_with_its_lines():
        sys.exit(0 if main(given.system or None, given.task or None) else 1)
