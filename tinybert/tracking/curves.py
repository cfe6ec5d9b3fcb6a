"""Write curves into a run, each step once however often they are logged."""

from typing import Any

from tinybert.tracking.histories import Points
from tinybert.tracking.store import milliseconds


class Curves:
    """The curves of one run.

    Args:
        client: MLflow's.
        run: As MLflow returned it; its steps are asked for when a curve of that name comes.
    """

    def __init__(self, client: Any, run: Any) -> None:
        self.client, self.run_id = client, str(run.info.run_id)
        self._unread = set(run.data.metrics)
        self._steps: dict[str, set[int]] = {}

    def add(self, points: Points) -> None:
        """Log the points whose steps are not there yet."""
        from mlflow.entities import Metric

        now = milliseconds()
        new = []
        for name, curve in points.items():
            known = self._known(name)
            for step, value in curve:
                if step not in known:
                    known.add(step)
                    new.append(Metric(name, value, now, step))
        if new:
            self.client.log_batch(self.run_id, metrics=new)  # which MLflow cuts into calls

    def _known(self, name: str) -> set[int]:
        if name in self._unread:
            self._unread.remove(name)
            found = self.client.get_metric_history(self.run_id, name)
            self._steps[name] = {metric.step for metric in found}
        return self._steps.setdefault(name, set())
