"""The models of a pipeline state that are registered: students and teachers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinybert.reports.model_card import CARD
from tinybert.reports.results import TEACHER, Results
from tinybert.tasks.task import DEV, read_named_info

LONGEST = 5000  # characters of a description, in MLflow's databases
CUT = "\n..."


@dataclass(frozen=True)
class Model:
    """A classifier to register.

    Attributes:
        name: In the registry, `<system>-<task>`.
        folder: Its files, as `save_pretrained` wrote them.
        pair: Whether it takes two sentences.
        dev_score: By the task's first metric.
        tags: System, task and metric.
    """

    name: str
    folder: Path
    pair: bool
    dev_score: float
    tags: dict[str, str]

    def weights(self) -> str:
        """Hash the weights with labels and tokenizer: the same hash is the same model.

        Its card is left out, which is another one whenever latency is measured again.
        """
        digest = hashlib.sha256()
        files = (path for path in self.folder.rglob("*") if path.is_file())
        for file in sorted(file for file in files if file != self.folder / CARD):
            digest.update(file.relative_to(self.folder).as_posix().encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def description(self) -> str:
        """Return the card without its metadata, cut to what a model registry takes."""
        card = self.folder / CARD
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
        body = text.split("\n---\n", 1)[-1].strip()
        return body if len(body) <= LONGEST else body[: LONGEST - len(CUT)] + CUT


def find_models(results: Results, folder: Path) -> list[Model]:
    """Return every model that was scored on its task's dev split and is there.

    Args:
        results: The scores.
        folder: The project's folder.
    """
    found = []
    for (system, task), scores in results.scores.items():
        teacher = system == TEACHER
        place = folder / "models" / (f"teacher/{task}" if teacher else f"student/{system}/{task}")
        if scores.main_metric in scores.metrics.get(DEV, {}) and place.is_dir():
            info = read_named_info(folder / "data/tasks" / task, task)
            score = scores.metrics[DEV][scores.main_metric]
            tags = {"system": system, "task": task, "metric": scores.main_metric}
            found.append(Model(f"{system}-{task}", place, info.pair, score, tags))
    return found


def best_version(scores: Sequence[tuple[str, float]]) -> str:
    """Return the version with the highest score, the first one of equals."""
    return max(sorted(scores, key=lambda each: int(each[0])), key=lambda each: each[1])[0]
