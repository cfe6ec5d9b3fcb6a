"""Put the runs of a sweep beside each other."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd

from tinybert.runtime.errors import InputError
from tinybert.tracking.display import PIPELINES, TRAINING, server_of
from tinybert.tracking.failures import printable_address
from tinybert.tracking.record import setting_name
from tinybert.tracking.store import opened

MAX_RUNS = 1000  # pipeline states that are looked through
SHOWN = ("average", "share_of_teacher")  # costs are the same for every value of a weight


def compare(uri: str, key: str) -> tuple[pd.DataFrame, str]:
    """Compare the newest run with those that differ from it in one parameter alone.

    Args:
        uri: An MLflow store or server.
        key: As `dvc exp run -S` takes it: `loss.attn_weight`, or `file:key`.

    Returns:
        A table named as MLflow names the parameter, with one row a value, in the values' order,
        and figures as columns; and the address of MLflow's page that compares the runs.

    Raises:
        InputError: No run has this parameter, or the server does not answer.
    """
    name = setting_name(key)
    with opened(uri) as (client, experiment):
        found = client.search_runs(
            [experiment],
            PIPELINES,
            max_results=MAX_RUNS,
            order_by=["attributes.end_time DESC"],
        )
    runs = [run for run in found if name in run.data.params]
    if not runs:
        place = printable_address(uri)
        raise InputError(f"compare: no run in {place} has the parameter, got {key!r}; run it first")
    newest = _others(runs[0].data.params, name)
    by_value: dict[str, Any] = {}
    for run in runs:
        if _others(run.data.params, name) == newest:
            by_value.setdefault(run.data.params[name], run)
    ordered = sorted(by_value.items(), key=lambda item: _order(item[0]))
    figures = {
        value: {figure: run.data.metrics[figure] for figure in _figures(run.data.metrics)}
        for value, run in ordered
    }
    table = pd.DataFrame.from_dict(figures, orient="index").rename_axis(name)
    return table, comparison_page(uri, experiment, [run for _, run in ordered])


def _others(params: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in params.items() if key != name}


def _order(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return math.inf, value


def _figures(metrics: Mapping[str, float]) -> list[str]:
    """Return each system's average and its score on every task's dev split."""
    scores = [name for name in metrics if name.split("/")[2:3] == ["dev"]]
    return [*sorted(scores), *sorted(name for name in metrics if name.split("/")[-1] in SHOWN)]


def comparison_page(uri: str, experiment: str, runs: Sequence[Any]) -> str:
    """Return the address of MLflow's page that compares runs."""
    ids = quote(json.dumps([run.info.run_id for run in runs]))
    experiments = quote(json.dumps([experiment]))
    return f"{server_of(uri)}#/compare-runs?runs={ids}&experiments={experiments}&{TRAINING}"
