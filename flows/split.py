"""Split one run over several machines: each has a clone, a worker, and the shared DVC remote."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from flows.graph import Graph, read_graph
from flows.overrides import params_changed
from flows.refusal import print_refusals_in_one_line, refusal_named
from flows.request import read_request, require_known_names, require_valid_params
from flows.walk import only_run_in
from tinybert.core.settings.reader import PARAMS, read_yaml

WORKER = "tinybert/worker"  # the deployment of prefect.yaml
POLL_SECONDS = 2.0
LAST = 3
print_refusals_in_one_line()


def waves(graph: Graph, systems: Sequence[str], tasks: Sequence[str]) -> list[list[list[str]]]:
    """Group the stages for several machines.

    Args:
        graph: The whole graph.
        systems: The systems of the run.
        tasks: Its tasks.

    Returns:
        Waves, one after the other; each a list of groups that may run at the same time, each a
        list of stages. First what all need; then each system's and each task's own; then each
        task with all systems; then what sums up.
    """
    pairs = {f"{system}-{task}": task for system in systems for task in tasks}
    wave: dict[str, int] = {}
    group: dict[str, str] = {}
    for stage, upstream in graph.items():
        item = stage.partition("@")[2]
        own = 0 if not item else 2 if item in pairs else 1
        sums_up = any(wave[name] > own for name in upstream)
        wave[stage] = LAST if sums_up else own
        group[stage] = "" if sums_up else pairs.get(item, item)
    found: dict[int, dict[str, list[str]]] = {}
    for stage in graph:
        found.setdefault(wave[stage], {}).setdefault(group[stage], []).append(stage)
    return [list(found[number].values()) for number in sorted(found)]


def start(group: Iterable[str], parameters: Mapping[str, Any], deployment: str) -> UUID:
    """Ask for a group of stages; some worker takes it."""
    run = run_deployment(
        deployment,
        parameters={**parameters, "targets": list(group), "pull": True, "push": True},
        timeout=0,
    )
    return cast(Any, run).id  # type: ignore[no-any-return]


def wait_for(runs: Mapping[UUID, Sequence[str]]) -> list[str]:
    """Wait until all runs have ended; return the groups that failed."""
    waiting, failed = dict(runs), []
    with get_client(sync_client=True) as client:
        while waiting:
            for run_id in list(waiting):
                state = client.read_flow_run(run_id).state
                if state is not None and state.is_final():
                    group = waiting.pop(run_id)
                    if not state.is_completed():
                        failed.append(f"{', '.join(group)}: {state.message or state.name}")
            time.sleep(POLL_SECONDS if waiting else 0)
    return failed


@flow(name="tinybert-split")
def split(
    profile: str | None = None,
    tasks: list[str] | None = None,
    systems: list[str] | None = None,
    overrides: list[str] | None = None,
    deployment: str = WORKER,
) -> None:
    """Run the pipeline on all machines whose workers poll the deployment's work pool.

    Args:
        profile: As in the flow `tinybert`, like all up to overrides.
        tasks: Files of params/tasks; each goes to one machine at a time.
        systems: Files of params/systems.
        overrides: key=value, as `dvc exp run -S` takes them.
        deployment: The deployment that the workers run.
    """
    root, log = Path.cwd(), get_run_logger()
    given = {"profile": profile, "tasks": tasks, "systems": systems, "overrides": overrides}
    with refusal_named():
        request = read_request(given)
        with only_run_in(root), params_changed(root, request.all_overrides()):
            require_known_names(root)
            require_valid_params(root)
            params = read_yaml(root / PARAMS)
            planned = waves(read_graph(root), params["systems"], params["tasks"])
    asked = {"overrides": request.all_overrides()}
    for number, groups in enumerate(planned, start=1):
        log.info("wave %d of %d: %s", number, len(planned), "; ".join(map(", ".join, groups)))
        failed = wait_for({start(group, asked, deployment): group for group in groups})
        if failed:
            raise RuntimeError("\n".join(failed))
