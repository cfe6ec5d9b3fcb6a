"""Write a student's model card: how it was made, what it scores and costs, how to load it.

Everything in it is read from the files of the run; the template is templates/card.md.j2. No torch
is needed for it.
"""

import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from tinybert.reports.markup import fill_template
from tinybert.reports.results import (
    EXPORT_HEADS,
    LATENCY_HEADS,
    MISSING,
    Export,
    Latency,
    TaskScores,
)
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_folder
from tinybert.settings.choices import WEIGHED_BY, PhaseData
from tinybert.settings.heads import head_of_kind, hub_task
from tinybert.settings.layer_map import teacher_layers
from tinybert.tasks.entities import count_entities
from tinybert.tasks.glue import hub_glue
from tinybert.tasks.phase_rows import WITH_COPIES, WITH_UNLABELLED, default_data
from tinybert.tasks.task import DEV, TaskInfo
from tinybert.tasks.task_file import Hub, TaskFile

CARD = "README.md"
MOST_LABELS = 20  # that a card lists
LANGUAGE = "en"  # of GLUE and of the embedded tasks; a user's own text may be in any
PHASES = ("general_distill", "intermediate_distill", "prediction_distill")
# What the profile says of the data and of every training that the student comes from.
SECTIONS = ("prepare_corpus", "augment", "teacher_logits", "finetune_teacher", *PHASES)
TEACHERLESS = {"label", "mlm", "next_sentence"}  # terms; each other one matches a teacher
GRID = ("batch_sizes", "learning_rates")
SEARCHED = ("soft_shares", "temperatures", "patient_weights")
HUB_METRICS = {
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "f1_macro": "f1",
    "f1_micro": "f1",
    "entity_f1": "f1",
    "entity_precision": "precision",
    "entity_recall": "recall",
}
AVERAGES = {"f1_macro": "macro", "f1_micro": "micro"}


class Augmented(BaseModel):
    """What is read of data/augmented/<task>/augmentation.json: numbers of rows."""

    rows_in: int
    rows_augmented: int
    rows_out: int


class Corpus(BaseModel):
    """What is read of data/corpus/corpus.json."""

    num_words: int
    num_documents: int


@dataclass(frozen=True)
class Facts:
    """What a card says, as the files say it.

    Attributes:
        system: Name of the system.
        system_file: Its file of params/systems/.
        profile: Name of the profile.
        profile_file: Its content.
        params: What params.yaml says: loss, precision, seed, tasks.
        info: The prepared task.
        task_file: The task's file.
        augmentation: Counts of the augmented rows.
        corpus: Counts of the general text.
        scores: The student's.
        teacher_scores: Its teacher's; None where nobody measured them.
        latency: Size and speed; None where nobody measured them.
        export: What int8 costs; None where the student is not exported.
        config: The student's configuration.
        teacher_config: Its teacher's.
        megabytes: Of the weight files, 10^6 bytes.
    """

    system: str
    system_file: Mapping[str, Any]
    profile: str
    profile_file: Mapping[str, Any]
    params: Mapping[str, Any]
    info: TaskInfo
    task_file: TaskFile
    augmentation: Augmented
    corpus: Corpus
    scores: TaskScores
    teacher_scores: TaskScores | None
    latency: Latency | None
    export: Export | None
    config: Mapping[str, Any]
    teacher_config: Mapping[str, Any]
    megabytes: float

    @property
    def name(self) -> str:
        """The model's name, as in the registry."""
        return f"{self.system}-{self.info.name}"

    def phase(self, name: str) -> Mapping[str, Any]:
        """Return what the system's file says of a phase."""
        return self.system_file.get(name) or {}


def copy_with_card(source: Path, facts: Facts, folder: Path) -> None:
    """Write a student's files and its card to `folder`.

    The files are hard links to those of `source`, or copies where the file system has no links.
    """
    text = render(facts)
    with replace_folder(folder) as partial:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            target = partial / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(file, target)
        (partial / CARD).unlink(missing_ok=True)  # else a card of the source's would be written to
        (partial / CARD).write_text(text, encoding="utf-8", errors="backslashreplace")


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file.resolve(), target)  # of the file itself, where DVC has put a symbolic link
    except OSError:
        shutil.copyfile(file, target)


def megabytes(folder: Path) -> float:
    """Return the size of a checkpoint's weight files, in MB of 10^6 bytes."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6


def render(facts: Facts) -> str:
    """Return the card: the hub's YAML front matter, and Markdown."""
    return fill_template(
        "card.md.j2",
        **vars(facts),
        yaml=_yaml,
        row=_row,
        latency_heads=LATENCY_HEADS,
        export_heads=EXPORT_HEADS,
        figure=_figure,
        most=MOST_LABELS,
        name=facts.name,
        front_matter=front_matter(facts),
        phases=[(name, _loss(facts, facts.phase(name))) for name in PHASES],
        sections={key: facts.profile_file[key] for key in SECTIONS if key in facts.profile_file},
        layers=_layers(facts),
        task_source=_task_source(facts),
        corpus_source=_corpus_source(facts),
        augmented=_phases_on(facts, WITH_COPIES),
        unlabelled=_phases_on(facts, WITH_UNLABELLED),
        num_schedules=_num_schedules(facts),
        english=_is_english(facts),
        made=_made(facts),
        first_weights=_first_weights(facts),
        score_rows=list(_score_rows(facts)),
        part_rows=list(_part_rows(facts)),
        head=head_of_kind(facts.info.kind),
        long=facts.task_file.encoding(facts.info).long,
        stride=facts.task_file.encoding(facts.info).stride,
        types=list(count_entities([], facts.info.labels)),
        unscored=[split for split in facts.info.eval_splits if split not in facts.scores.metrics],
        tested=[split for split in facts.scores.metrics if not split.startswith(DEV)],
    )


def front_matter(facts: Facts) -> str:
    """Return the metadata that the hub reads, as YAML; the licence is the user's to choose."""
    from huggingface_hub import EvalResult, ModelCardData

    hub = _hub(facts)
    source = hub.path if hub else facts.info.name
    results = [
        EvalResult(
            task_type=hub_task(facts.info.kind),
            dataset_type=source,
            dataset_name=facts.info.name,
            dataset_config=hub.name if hub else None,
            dataset_split=hub.splits.get(split, split) if hub else split,
            metric_type=_hub_metric(facts, metric),
            metric_name=metric,
            metric_value=value,
            metric_args={"average": AVERAGES[metric]} if metric in AVERAGES else None,
        )
        for split, metrics in facts.scores.metrics.items()
        for metric, value in metrics.items()
    ]
    named = (hub and hub.path, _corpus(facts))
    datasets = [found for found in named if found and _on_hub(found)]
    data = ModelCardData(
        language=LANGUAGE if _is_english(facts) else None,
        library_name="transformers",
        pipeline_tag=hub_task(facts.info.kind),
        base_model=base_models(facts) or None,
        tags=[*(["knowledge-distillation"] if _is_distilled(facts) else []), facts.system],
        datasets=datasets or None,
        metrics=list(dict.fromkeys(_hub_metric(facts, name) for name in facts.info.metrics)),
        model_name=facts.name,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _hub_metric(facts: Facts, metric: str) -> str:
    """Return the hub's name of a metric; of questions the set of metrics that it is one of."""
    if facts.info.kind == "span":
        return "squad" if facts.config.get("null_threshold") is None else "squad_v2"
    return HUB_METRICS.get(metric, metric)


def base_models(facts: Facts) -> list[str]:
    """Return the hub ids of what the student was initialised from and distilled from, if known."""
    teacher = facts.profile_file.get("teacher", {})
    first = facts.system_file.get("initialisation")
    found = []
    if isinstance(first, Mapping) and not Path(first.get("checkpoint", ".")).exists():
        found.append(first["checkpoint"])
    if facts.task_file.teacher and not Path(facts.task_file.teacher).exists():
        found.append(facts.task_file.teacher)
    elif teacher.get("source") == "hub":
        found.append(teacher["hub_id"])
    return list(dict.fromkeys(found))


def _hub(facts: Facts) -> Hub | None:
    """Return where the hub has the task, if it has."""
    of_glue = str(facts.profile_file.get("prepare_task", {}).get("glue_hub") or "")
    found = facts.task_file.hub
    if facts.task_file.glue and of_glue:
        found = hub_glue(facts.task_file.glue, of_glue)[0]
    return found if found and _on_hub(found.path) else None


def _on_hub(path: str) -> bool:
    """Return whether a data set has a name of the hub; a folder's path is none."""
    return not Path(path).is_dir()


def _data_set(path: str) -> str:
    return f"the hub's data set {path}" if _on_hub(path) else f"the folder {Path(path).name}"


def _corpus(facts: Facts) -> str | None:
    corpus = facts.profile_file.get("prepare_corpus", {})
    return corpus["hub"]["path"] if corpus.get("source") == "hub" else None


def _is_english(facts: Facts) -> bool:
    return bool(facts.task_file.glue or facts.task_file.embedded)


def _made(facts: Facts) -> str:
    """Say in words where the student comes from."""
    if facts.phase("prediction_distill").get("classifier") == "teacher":
        return "the fine-tuned teacher itself"
    distilled = _is_distilled(facts)
    return "distilled from a fine-tuned teacher" if distilled else "trained without distillation"


def _is_distilled(facts: Facts) -> bool:
    """Return whether any phase has a term that a teacher is needed for, or begins with its fit."""
    phases = [*map(facts.phase, PHASES[:2]), *_trainings(facts)]
    terms = {term for phase in phases for term in phase.get("terms") or []}
    return bool(terms - TEACHERLESS or _fitted_to(facts))


def _trainings(facts: Facts) -> Iterator[Mapping[str, Any]]:
    """Yield the prediction phase and each training that goes on from it."""
    phase: Mapping[str, Any] | None = facts.phase("prediction_distill")
    while phase:
        yield phase
        phase = phase.get("then")


def _first_weights(facts: Facts) -> str:
    """Say what the student's weights were before its first step."""
    teacher = _fitted_to(facts)
    own = str(facts.system_file.get("initialisation"))
    return f"fitted in closed form to the {teacher} teacher" if teacher else own


def _fitted_to(facts: Facts) -> str:
    """Return which teacher the student was fitted to in closed form; empty: to none."""
    if facts.phase("intermediate_distill").get("start") == "closed_form":
        return "fine-tuned"
    return "pretrained" if facts.system_file.get("initialisation") == "closed_form" else ""


def _task_source(facts: Facts) -> str:
    task = facts.task_file
    if task.embedded:
        return "documentation of the installed Python packages, labelled by construction"
    if task.hub:
        return _data_set(task.hub.path)
    if task.files:
        return f"the file {Path(task.files.train).name}"
    prepared = facts.profile_file.get("prepare_task", {})
    place = f"the hub's {prepared.get('glue_hub')}" if prepared.get("glue") == "hub" else "a folder"
    return f"GLUE's {task.glue}, from {place}"


def _corpus_source(facts: Facts) -> str:
    if path := _corpus(facts):
        return _data_set(path)
    embedded = facts.profile_file.get("prepare_corpus", {}).get("source") == "embedded"
    return "documentation of the installed Python packages" if embedded else "text files"


def _phases_on(facts: Facts, kinds: Collection[PhaseData]) -> list[str]:
    """Return the phases of task distillation that train on rows of these kinds."""
    further = facts.info.num_unlabelled > 0

    def reads(phase: Mapping[str, Any], default: PhaseData) -> bool:
        learns = phase.get("terms") or phase.get("start") == "closed_form"
        return bool(learns) and (phase.get("data") or default) in kinds

    by_default = facts.task_file.prediction_data
    found = []
    if reads(facts.phase("intermediate_distill"), default_data(further)):
        found.append("intermediate_distill")
    trainings = [(each, "label" in (each.get("terms") or [])) for each in _trainings(facts)]
    if any(reads(each, default_data(further, by_default, label)) for each, label in trainings):
        found.append("prediction_distill")
    return found


def _num_schedules(facts: Facts) -> int:
    """Count the points of the prediction phase's grids."""
    grid = dict(facts.profile_file.get("prediction_distill") or {})
    found = 0
    for own in _trainings(facts):
        lists = [own.get(key) or grid.get(key) or [None] for key in GRID]
        lists += [own.get(key) or [None] for key in SEARCHED]
        found += math.prod(map(len, lists)) if own.get("terms") else 0
    return found


def _loss(facts: Facts, phase: Mapping[str, Any]) -> str:
    """Return a phase's loss in words: its terms, each with its weight."""
    if phase.get("classifier") == "teacher":
        return "none: the fine-tuned teacher is taken"
    terms = phase.get("terms") or []
    words = [f"{_weight(facts, phase, term)} x {term}" for term in terms]
    fitted = phase.get("start") == "closed_form"
    nothing = "the student stays as it was fitted" if fitted else "the student passes through"
    said = " + ".join(words) or f"no terms: {nothing}"
    temperatures = phase.get("temperatures") or phase.get("temperature")
    if temperatures:
        values = temperatures if isinstance(temperatures, list) else [temperatures]
        said += f", temperature {_values(values)}"
    if "steps_scale" in phase:
        said += f", {phase['steps_scale']:g} times the profile's steps"
    if "learning_rate" in phase:
        said += f", learning rate {phase['learning_rate']:g}"
    if phase.get("then"):
        said += f"; then {_loss(facts, phase['then'])}"
    return said


def _weight(facts: Facts, phase: Mapping[str, Any], term: str) -> str:
    general = float(facts.params.get("loss", {}).get(WEIGHED_BY.get(term), 1.0))
    own = (phase.get("weights") or {}).get(term, 1.0)
    factors = [own]
    shares = phase.get("soft_shares")
    if shares and term in ("kl", "label"):
        factors = [own * (share if term == "kl" else 1 - share) for share in shares]
    if term == "patient":
        factors = phase.get("patient_weights") or factors
    return _values([general * factor for factor in factors])


def _values(numbers: Sequence[float]) -> str:
    """Show one value, or those that were searched through."""
    listed = "|".join(f"{number:g}" for number in numbers)
    return listed if len(numbers) == 1 else f"({listed})"


def _layers(facts: Facts) -> str:
    """Say which teacher layer each student layer learns from."""
    chosen = facts.system_file.get("layer_map")
    ours, theirs = (_num_layers(config) for config in (facts.config, facts.teacher_config))
    if chosen is None or not ours or not theirs:
        return str(chosen)
    try:
        found = teacher_layers(chosen, ours, theirs)
    except InputError:  # a map for other layers than all of the student's
        return str(chosen)
    pairs = ", ".join(f"{m} from {n}" for m, n in enumerate(found, start=1))
    return f"{chosen} ({pairs} of {theirs})" if isinstance(chosen, str) else f"{pairs} of {theirs}"


def _num_layers(config: Mapping[str, Any]) -> int:
    return int(config.get("num_hidden_layers") or config.get("n_layers") or 0)


def _score_rows(facts: Facts) -> Iterator[list[str]]:
    """Lay out every metric of every labelled split beside the teacher's."""
    for split, metrics in facts.scores.metrics.items():
        theirs = facts.teacher_scores.metrics.get(split, {}) if facts.teacher_scores else {}
        rows = facts.scores.num_rows.get(split) or facts.info.num_rows.get(split)
        for metric, value in metrics.items():
            best = theirs.get(metric)
            share = MISSING if best is None or best <= 0 else f"{100 * value / best:.1f}%"
            yield [
                split,
                MISSING if rows is None else f"{rows:,}",
                metric,
                f"{100 * value:.1f}",
                MISSING if best is None else f"{100 * best:.1f}",
                share,
            ]


def _part_rows(facts: Facts) -> Iterator[list[str]]:
    """Lay out the scores of each label, entity type or part of every labelled split."""
    for split, parts in facts.scores.parts.items():
        for name, found in parts.items():
            if isinstance(found, Mapping):
                yield [split, name, *_part_figures(found)]


def _part_figures(found: Mapping[str, float]) -> list[str]:
    shown = [f"{key} {100 * value:.1f}" for key, value in found.items() if key != "support"]
    return [", ".join(shown), f"{found['support']:,.0f}" if "support" in found else MISSING]


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100).rstrip()


def _figure(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _row(values: Sequence[object]) -> str:
    """Return a table's row; a bar inside a cell would end it."""
    return "| " + " | ".join(str(value).replace("|", r"\|") for value in values) + " |"
