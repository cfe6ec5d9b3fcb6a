"""What transformers and the hub call the head of a kind of task."""

from collections.abc import Sequence

from tinybert.settings.choices import Kind

# As transformers' classes are named; other kinds label whole rows.
HEADS_OF: dict[Kind, str] = {"tokens": "TokenClassification", "span": "QuestionAnswering"}
SEQUENCE = "SequenceClassification"
# What the hub calls a kind's task, and transformers its pipeline; of other kinds TEXTS.
TASKS_OF: dict[Kind, str] = {"tokens": "token-classification", "span": "question-answering"}
TEXTS = "text-classification"


def head_of_kind(kind: Kind) -> str:
    """Return what transformers' classes call a kind's head."""
    return HEADS_OF.get(kind, SEQUENCE)


def kind_of_head(architectures: Sequence[str] | None) -> Kind:
    """Return a kind of task whose head a checkpoint has, by the class it was saved as."""
    for kind, head in HEADS_OF.items():
        if any(name.endswith(f"For{head}") for name in architectures or ()):
            return kind
    return "classification"


def hub_task(kind: Kind) -> str:
    """Return what the hub calls a kind's task."""
    return TASKS_OF.get(kind, TEXTS)
