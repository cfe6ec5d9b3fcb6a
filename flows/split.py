"""Split one run over several machines: each has a clone, a worker, and the shared DVC remote."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import flow, get_run_logger, runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.deployments import run_deployment
from prefect.states import Crashed

from flows.graph import Graph, read_graph
from flows.overrides import params_changed
from flows.refusal import print_refusals_in_one_line, refusal_named
from flows.request import read_request, require_known_names, require_valid_params
from flows.walk import only_run_in
from tinybert.settings.reader import PARAMS, read_yaml

WORKER = "tinybert/worker"  # the deployment of prefect.yaml
WORKER_LABEL = "prefect.worker.name"  # of a flow run, set by the worker that takes it
POLL_SECONDS = 2.0
SILENT_SECONDS = 30.0
MAX_STARTS = 3
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


@dataclass
class Part:
    """A group of stages that some worker has been asked for.

    Attributes:
        stages: The group.
        starts: How often it was asked for.
        silent_since: When its worker was first seen to give no sign of life.
    """

    stages: Sequence[str]
    starts: int = 1
    silent_since: float | None = None


def run_all(
    groups: Iterable[Sequence[str]],
    ask: Callable[[Sequence[str]], UUID],
    client: SyncPrefectClient,
    say: Callable[[str], None],
) -> list[str]:
    """Have groups run side by side; what a machine that died had begun, another one begins anew.

    Args:
        groups: Stages of each.
        ask: Asks for a group, and returns its flow run.
        client: Of Prefect's server.
        say: Called with a line when a group is asked for again.

    Returns:
        The groups that failed, and why.
    """
    waiting, failed = {ask(group): Part(group) for group in groups}, []
    while waiting:
        for run_id, part in list(waiting.items()):
            state = _state_of(run_id, part, client)
            if state is None or not state.is_final():
                continue
            del waiting[run_id]
            if state.is_crashed() and part.starts < MAX_STARTS:
                say(f"{part.stages[-1]}: {state.message}; another worker begins its group again")
                waiting[ask(part.stages)] = Part(part.stages, part.starts + 1)
            elif not state.is_completed():
                failed.append(f"{', '.join(part.stages)}: {state.message or state.name}")
        time.sleep(POLL_SECONDS if waiting else 0)
    return failed


def _state_of(run_id: UUID, part: Part, client: SyncPrefectClient) -> Any | None:
    """Read a run's state: Prefect itself leaves it running for ever where its machine died."""
    run = client.read_flow_run(run_id)
    if (run.state is not None and run.state.is_final()) or not _is_offline(run, client):
        part.silent_since = None
        return run.state
    if part.silent_since is None:
        part.silent_since = time.monotonic()
    # A server that was away itself calls every worker offline until it hears of them.
    if time.monotonic() - part.silent_since < SILENT_SECONDS:
        return run.state
    name = run.labels[WORKER_LABEL]
    crashed: Any = Crashed(message=f"its worker died or lost its network, got {name} offline")
    client.set_flow_run_state(run_id, crashed, force=True)
    return crashed


def _is_offline(run: Any, client: SyncPrefectClient) -> bool:
    """Return whether the worker that took a run has missed three of its heartbeats."""
    name, pool = run.labels.get(WORKER_LABEL), run.work_pool_name
    if name is None or pool is None:
        return False
    workers = client.read_workers_for_work_pool(pool)
    return any(each.name == name and each.status == WorkerStatus.OFFLINE for each in workers)


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
        alone = only_run_in(root, runtime.flow_run.name)
        with alone, params_changed(root, request.all_overrides()):
            require_known_names(root)
            require_valid_params(root)
            params = read_yaml(root / PARAMS)
            planned = waves(read_graph(root), params["systems"], params["tasks"])
    ask = partial(start, parameters={"overrides": request.all_overrides()}, deployment=deployment)
    for number, groups in enumerate(planned, start=1):
        log.info("wave %d of %d: %s", number, len(planned), "; ".join(map(", ".join, groups)))
        with get_client(sync_client=True) as client:
            failed = run_all(groups, ask, client, log.warning)
        if failed:
            raise RuntimeError("\n".join(failed))
