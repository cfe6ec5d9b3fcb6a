"""The flow `tinybert`, and one flow for each step of the pipeline, from the same code.

prefect deployment run tinybert/full --watch -p profile=demo -p 'overrides=["loss.attn_weight=0.5"]'
"""

import csv
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect import Flow, flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.ablation import read_study
from flows.experiments import Asked, make_room, require_valid
from flows.graph import Graph, read_graph, with_upstream
from flows.overrides import params_changed, put_back
from flows.refusal import print_refusals_in_one_line, refusal_named, refused
from flows.request import Request, read_request, require_known_names, require_valid_params
from flows.stage_process import Outcome
from flows.walk import (
    Room,
    Walk,
    changed_stages,
    only_run_in,
    push_outputs,
    read_slots,
    save_experiment,
)
from tinybert.runtime.errors import InputError
from tinybert.runtime.processes import die_with_parent
from tinybert.runtime.repository import require_commit

SCORES = Path("reports/tables/results.csv")
print_refusals_in_one_line()
RETRIES = 2
UNDONE = ("Failed", "NotReady")
# Threads only wait: the room decides how many stages run.
THREADS: Any = ThreadPoolTaskRunner(max_workers=200)


def _may_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether trying again can help: not where a stage refused its input (exit code 1)."""
    result = state.result(raise_on_failure=False)
    return not isinstance(result, InputError) and "exit code 1;" not in (state.message or "")


@task(
    retries=RETRIES,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=_may_retry,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def stage_task(stage: str, upstream: frozenset[str], walk: Walk) -> Any:
    """Bring one stage of dvc.yaml up to date; the state's name says how."""
    log = get_run_logger()
    outcome = walk.bring_up_to_date(stage, upstream, log.info)
    if outcome.state == "Failed":
        return Failed(message=f"exit code {outcome.exit_code}; {outcome.message}")
    return Completed(name=outcome.state, message=f"{outcome.message} ({outcome.seconds:.1f} s)")


def run_pipeline(request: Request, *, training_slots: int, pull: bool, push: bool) -> None:
    """Walk the graph for a request, then show the scores.

    Raises:
        InputError: The request or the workspace is wrong; nothing ran.
        RuntimeError: A stage failed.
    """
    root, log = Path.cwd(), get_run_logger()
    read_slots("training_slots", training_slots)
    if not (root / "dvc.yaml").is_file():
        raise InputError(f"{root}: no dvc.yaml, got another folder; start it in the project's")
    require_commit(root)
    if "PREFECT__FLOW_RUN_ID" in os.environ:  # started by a worker, which others see die
        die_with_parent(os.getppid())
    with ExitStack() as stack:
        stack.enter_context(only_run_in(root, runtime.flow_run.name))
        for file in put_back(root):
            log.warning("%s: put back as it was before a run that was killed", file)
        stack.enter_context(params_changed(root, request.all_overrides()))
        require_known_names(root)
        if request.all_overrides():
            require_valid_params(root)
        graph = with_upstream(read_graph(root), request.targets)
        environment = {"DVC_EXP_NAME": request.experiment} if request.experiment else {}
        if pull:  # other machines make the other systems
            environment["TINYBERT_TOGETHER"] = "0"
        room = Room(training_slots)
        walk = Walk(root, changed_stages(root), room, environment, pull, push)
        stack.callback(walk.processes.stop)
        walk_graph(graph, walk)
        show(root, graph, walk.outcomes)
        failed = [name for name, state, _ in fates(graph, walk.outcomes) if state in UNDONE]
        if push:
            done = [name for name, state, _ in fates(graph, walk.outcomes) if state not in UNDONE]
            push_outputs(root, done, log.info)
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(graph)} stages failed: {', '.join(failed)}")
        if request.experiment:
            save_experiment(root, log.info, request.experiment)


def run_each(asked: Sequence[Asked], training_slots: int) -> None:
    """Check every value, then run the experiments one after the other, whatever becomes of each.

    Raises:
        InputError: Something is wrong; nothing ran.
        RuntimeError: Some failed; the others ran.
    """
    read_slots("training_slots", training_slots)
    require_valid(Path.cwd(), asked, queued=False)
    make_room(Path.cwd(), asked)
    failed = []
    for each in asked:
        state = tinybert(
            overrides=list(each.overrides),
            experiment=each.name,
            training_slots=training_slots,
            return_state=True,
        )
        if not state.is_completed():
            failed.append(each.name)
    if failed:
        names = ", ".join(failed)
        raise RuntimeError(f"{len(failed)} of {len(asked)} experiments failed: {names}")


def walk_graph(graph: Graph, walk: Walk) -> None:
    """Run one task per stage, each as soon as those it waits for are done."""
    runs: dict[str, Any] = {}
    for stage, upstream in graph.items():
        named: Any = stage_task.with_options(task_run_name=stage)
        runs[stage] = named.submit(
            stage, upstream, walk, wait_for=[runs[name] for name in upstream]
        )
    wait(list(runs.values()))


def show(root: Path, graph: Graph, outcomes: dict[str, Outcome]) -> None:
    """Leave the scores and the stages' fates as artifacts."""
    if (root / SCORES).is_file():
        with (root / SCORES).open(encoding="utf-8", newline="") as lines:
            create_table_artifact(
                table=list(csv.DictReader(lines)),
                key="scores",
                description="Scores, sizes and speeds of the last report",
            )
    rows = [
        f"| `{name}` | {state} | {seconds} |" for name, state, seconds in fates(graph, outcomes)
    ]
    create_markdown_artifact(
        markdown="\n".join(["| stage | state | seconds |", "|---|---|---:|", *rows]),
        key="stages",
        description="What became of each stage",
    )


def fates(graph: Graph, outcomes: dict[str, Outcome]) -> Iterator[tuple[str, str, str]]:
    """Return name, state and seconds of each stage."""
    for name in graph:
        outcome = outcomes.get(name)
        if outcome is None:
            yield name, "NotReady", ""
        else:
            yield name, outcome.state, f"{outcome.seconds:.1f}"


def _run_name() -> str:
    given = runtime.flow_run.parameters
    try:
        title = given.get("experiment") or read_request(given).title()
    except InputError as error:
        return refused(error)
    return f"{title} {time.strftime('%m-%d %H:%M:%S')}"


@flow(name="tinybert", flow_run_name=_run_name, task_runner=THREADS)
def tinybert(
    profile: str | None = None,
    tasks: list[str] | None = None,
    systems: list[str] | None = None,
    overrides: list[str] | None = None,
    targets: list[str] | None = None,
    experiment: str | None = None,
    training_slots: int = 1,
    pull: bool = False,
    push: bool = False,
    group: str | None = None,
) -> None:
    """Bring the pipeline up to date: one task per stage of dvc.yaml.

    Args:
        profile: A file of params/profiles; none: as params.yaml says, as for all that follow.
        tasks: Files of params/tasks.
        systems: Files of params/systems.
        overrides: key=value, as `dvc exp run -S` takes them.
        targets: Stages to stop at; none: all.
        experiment: Name of a DVC experiment that keeps the result.
        training_slots: How many stages that use every core run at once.
        pull: Look for outputs in the DVC remote too.
        push: Send outputs and run-cache to the DVC remote, after each stage that ran.
        group: A file of params/groups, for what is not given of profile, tasks and systems.
    """
    with refusal_named():
        run_pipeline(read_request(locals()), training_slots=training_slots, pull=pull, push=push)


def _step_flow(step: str, stage: str) -> Flow[..., None]:
    def run_step(
        profile: str | None = None,
        tasks: list[str] | None = None,
        systems: list[str] | None = None,
        overrides: list[str] | None = None,
        training_slots: int = 1,
    ) -> None:
        with refusal_named():
            request = read_request({**locals(), "targets": [stage]})
            run_pipeline(request, training_slots=training_slots, pull=False, push=False)

    run_step.__name__ = step  # a deployment finds the flow by its function's name
    run_step.__doc__ = f"Bring {stage} up to date for every item, with all that it needs."
    return flow(name=f"tinybert-{step}", flow_run_name=_run_name, task_runner=THREADS)(run_step)


@flow(name="tinybert-sweep", flow_run_name="{key} over {values}")
def sweep(
    key: str,
    values: list[Any],
    profile: str | None = None,
    tasks: list[str] | None = None,
    systems: list[str] | None = None,
    overrides: list[str] | None = None,
    training_slots: int = 1,
) -> None:
    """Run the pipeline once per value of one parameter; each result is a DVC experiment.

    Args:
        key: As `dvc exp run -S` takes it, `loss.attn_weight`.
        values: Its values.
        profile: As in the flow `tinybert`, like all that follow.
        tasks: Files of params/tasks.
        systems: Files of params/systems.
        overrides: What else is changed, for every value.
        training_slots: How many stages that use every core run at once.
    """
    with refusal_named():
        shared = read_request(locals()).all_overrides()
        asked = [
            Asked(experiment_name(key, value), [*shared, f"{key}={value}"]) for value in values
        ]
        run_each(asked, training_slots)


@flow(name="tinybert-ablation", flow_run_name="{system} on {tasks}")
def ablation(
    groups: list[str] | None = None,
    system: str | None = None,
    tasks: list[str] | None = None,
    profile: str | None = None,
    overrides: list[str] | None = None,
    training_slots: int = 1,
) -> None:
    """Run groups of ablations of one system; each result is a DVC experiment.

    Args:
        groups: Files of params/ablations; none: all.
        system: A file of params/systems; none: the first of params.yaml.
        tasks: Files of params/tasks; none: as params.yaml says.
        profile: A file of params/profiles; none: as params.yaml says.
        overrides: What else is changed, for every experiment.
        training_slots: How many stages that use every core run at once.
    """
    root = Path.cwd()
    with refusal_named():
        study = read_study(root, groups, system, tasks, profile, overrides or [])
        run_each(study.asked(root), training_slots)


def experiment_name(key: str, value: Any) -> str:
    """Return a DVC experiment's name for one value of a sweep."""
    # A minus stays, so that -1 and 1 have names of their own.
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{key.rpartition(':')[2]}={value}")
    return plain.strip("-.")


corpus = _step_flow("corpus", "prepare_corpus")
general = _step_flow("general", "general_distill")
augment = _step_flow("augment", "augment")
intermediate = _step_flow("intermediate", "intermediate_distill")
prediction = _step_flow("prediction", "prediction_distill")
evaluate = _step_flow("evaluate", "evaluate")
export = _step_flow("export", "export")
latency = _step_flow("latency", "benchmark_latency")
card = _step_flow("card", "model_card")


FLOWS = (
    *(tinybert, sweep, ablation, corpus, general, augment),
    *(intermediate, prediction, evaluate, export, latency, card),
)
