"""What params files choose among that a part of the method is named by.

Apart from what computes, so that settings are checked in a second, without torch.
"""

from typing import Literal

from pydantic import Field

from tinybert.settings.reader import Settings

CLOSED_FORM_TOKENS = 32_000  # that a student's layers are fitted on, unless a profile says others
BatchKind = Literal["tokens", "rows"]
# A row has a class, a value, several labels, a tag for each word, or answers in a text.
Kind = Literal["classification", "regression", "multilabel", "tokens", "span"]
WordTerm = Literal["mlm", "mlm_kl", "next_sentence"]
WORD_TERMS: tuple[WordTerm, ...] = ("mlm", "mlm_kl", "next_sentence")
Places = Literal["masked", "all"]  # of a text's words
Projection = Literal["per_layer", "shared", "identity"]
# Of task distillation. augmented: original rows and their copies | unlabelled: original rows and
# those without labels | all: both.
PhaseData = Literal["original", "augmented", "unlabelled", "all"]


class Loss(Settings):
    """Weights of the terms, in the section `loss` of params.yaml; a stage reads its own."""

    attn_weight: float = Field(default=0.0, ge=0)
    hidden_weight: float = Field(default=0.0, ge=0)
    embedding_weight: float = Field(default=0.0, ge=0)
    prediction_weight: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)


# Keys of `Loss` by the terms they weigh; of others the weight is 1.
WEIGHED_BY = {
    "attention": "attn_weight",
    "attention_probs": "attn_weight",
    "relations": "attn_weight",
    "hidden": "hidden_weight",
    "embedding": "embedding_weight",
    "prediction": "prediction_weight",
    "kl": "prediction_weight",
}
