"""The stages of dvc.yaml and who waits for whom, as DVC sees them.

This is the one file that imports dvc. Stages themselves run in processes of their own
(flows/stage_process.py).
"""

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from tinybert.runtime.errors import InputError

Graph = Mapping[str, frozenset[str]]  # stage, as `name@item` -> the stages it waits for


def read_graph(root: Path) -> Graph:
    """Read the graph of dvc.yaml with the params files as they are now, upstream stages first.

    Raises:
        InputError: dvc.yaml and the params files do not make a graph.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            graph = repo.index.graph
            found = {  # what `dvc add` made is data, not a stage, and has no name
                stage.name: frozenset(up.name for up in graph.successors(stage) if _name(up))
                for stage in graph
                if _name(stage)
            }
            return {stage: found[stage] for stage in TopologicalSorter(found).static_order()}
    except DvcException as error:
        raise InputError(f"dvc.yaml: no graph can be made of it, got {first_line(error)}") from None


def stages_behind(graph: Graph) -> dict[str, int]:
    """Return how long the longest chain of stages is that wait for each, directly or not.

    Args:
        graph: Upstream stages first.
    """
    behind = dict.fromkeys(graph, 0)
    for stage in reversed(list(graph)):
        for upstream in graph[stage]:
            behind[upstream] = max(behind[upstream], 1 + behind[stage])
    return behind


def _name(stage: Any) -> str | None:
    return getattr(stage, "name", None)


def local_cache(root: Path) -> Path:
    """Return the folder of DVC's local cache, whether the workspace's own or a shared one."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return Path(repo.cache.local.path)


def push_files_of_git(root: Path, stages: Iterable[str]) -> None:
    """Send outputs with `cache: false` to the DVC remote: the run-cache restores them from there.

    `dvc push --run-cache` sends what the run-cache says of them, not their content, so another
    machine would run their stages again.

    Args:
        root: The workspace.
        stages: Whose outputs are sent; they are up to date.

    Raises:
        InputError: The remote cannot be used.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        outs = [out for stage in stages for each in repo.stage.collect(stage) for out in each.outs]
        found = {out.hash_info for out in outs if not out.use_cache and not out.persist}
        try:
            repo.cloud.push(found)
        except DvcException as error:
            raise InputError(f"dvc push: got {first_line(error)}") from None


def apply_overrides(file: Path, overrides: list[str]) -> None:
    """Change a params file as `dvc exp run -S` does, comments kept.

    Raises:
        InputError: An override is not of the form key=value, or its key is unknown.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides as apply

    try:
        apply(str(file), overrides)
    except DvcException as error:
        reason = first_line(error.__cause__ or error)
        raise InputError(
            f"overrides: {', '.join(overrides)} cannot be set in {file.name}, got: {reason}"
        ) from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def stage_names(graph: Graph) -> list[str]:
    """Return the names before the @, each once, in the graph's order."""
    return list(dict.fromkeys(stage.partition("@")[0] for stage in graph))


def with_upstream(graph: Graph, targets: Iterable[str]) -> Graph:
    """Return the part of the graph that the targets need, themselves included.

    Args:
        graph: The whole graph.
        targets: Stages, `name@item`, or `name` for all its items; none: everything.

    Raises:
        InputError: A target is no stage.
    """
    wanted: set[str] = set()
    unknown = []
    for target in targets:
        found = {stage for stage in graph if target in (stage, stage.partition("@")[0])}
        if not found:
            unknown.append(target)
        wanted |= found
    if unknown:
        raise InputError(
            f"targets: unknown stage, got {', '.join(unknown)}; known: "
            f"{', '.join(stage_names(graph))}, and with an item: {', '.join(graph)}"
        )
    if not wanted:
        return graph
    for stage in reversed(list(graph)):  # downstream first, so one pass reaches every ancestor
        if stage in wanted:
            wanted |= graph[stage]
    return {stage: upstream for stage, upstream in graph.items() if stage in wanted}
