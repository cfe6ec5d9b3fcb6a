"""What a system's file in params/systems/ may say of each phase."""

from itertools import product
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import Field, field_validator, model_validator

from tinybert.runtime.errors import InputError
from tinybert.settings.choices import WORD_TERMS, PhaseData, Places, Projection, WordTerm
from tinybert.settings.layer_map import LayerMap
from tinybert.settings.reader import Settings, named_file, parse, read_yaml
from tinybert.settings.schedule import BatchSize, Grid, LearningRate, Schedule

LayerTerm = Literal["attention", "hidden", "embedding", "attention_probs", "relations", "cosine"]
OutputTerm = Literal["prediction", "kl", "label", "patient"]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(gt=0)]
AnySchedule = TypeVar("AnySchedule", bound=Schedule)


class Relation(NamedTuple):
    """What the term relations matches the student's last layer with (MiniLMv2, 2012.15828).

    Attributes:
        layer: The teacher's, from 1.
        heads: Into how many the joined queries, keys and values are cut.
    """

    layer: int
    heads: int = 12


def divisors(number: int) -> str:
    """Return the numbers that divide one, as a line lists them."""
    return ", ".join(str(each) for each in range(1, number + 1) if number % each == 0)


class MatchesRelations(Settings):
    """Keys of the term relations."""

    relation_layer: Literal["last"] | int = "last"  # the teacher's
    relation_heads: int = Field(default=12, ge=1)

    @field_validator("relation_layer", mode="before")
    @classmethod
    def _names_a_layer(cls, value: object) -> object:
        if value != "last" and not (type(value) is int and value >= 1):
            raise ValueError(f"names no layer, got {value!r}; write last, or a number from 1")
        return value

    def relation(self, num_layers: int) -> Relation:
        """Return what relations are matched with.

        Args:
            num_layers: The teacher's.

        Raises:
            InputError: It has no such layer.
        """
        layer = num_layers if self.relation_layer == "last" else self.relation_layer
        if layer > num_layers:
            raise InputError(
                f"relation_layer: must be at most the teacher's {num_layers} layers, got {layer}; "
                "write a smaller number, or last"
            )
        return Relation(layer, self.relation_heads)


class LayerPhase(MatchesRelations):
    """Intermediate distillation; no terms: the student passes through.

    A learning rate left out is the profile's.
    """

    # general: the general student | closed_form: one of its shape, fitted to the task's teacher
    start: Literal["general", "closed_form"] = "general"
    terms: list[LayerTerm]
    weights: dict[LayerTerm, Weight] = Field(default_factory=dict)  # times those of params.yaml
    heads: Literal["each", "mean"] = "each"  # attention_probs: mean where heads differ in number
    data: PhaseData | None = None  # None: augmented, and the task's unlabelled rows if it has any
    learning_rate: float | None = Field(default=None, gt=0)

    def schedule(self, profile: AnySchedule, epochs_scale: float) -> AnySchedule:
        """Return the profile's schedule with this system's own learning rate.

        Args:
            profile: Its schedule.
            epochs_scale: The task's, times which its epochs are meant.
        """
        own = {"num_epochs": profile.num_epochs * epochs_scale}
        if self.learning_rate is not None:
            own["learning_rate"] = self.learning_rate
        return profile.model_copy(update=own)


class GeneralPhase(MatchesRelations):
    """General distillation, or pre-training on the corpus; no terms: the student passes through.

    With mlm, mlm_kl or next_sentence, words are hidden, and the teacher is the masked-word model.
    A learning rate left out is the profile's.
    """

    terms: list[LayerTerm | WordTerm]
    weights: dict[LayerTerm | WordTerm, Weight] = Field(default_factory=dict)
    heads: Literal["each", "mean"] = "each"
    temperature: Temperature = 1.0  # of mlm_kl
    mlm_kl_at: Places = "masked"  # where mlm_kl compares distributions: hidden words | all tokens
    steps_scale: float = Field(default=1.0, gt=0)  # times the profile's num_epochs and max_steps
    learning_rate: float | None = Field(default=None, gt=0)

    def schedule(self, profile: AnySchedule) -> AnySchedule:
        """Return the profile's schedule, steps_scale times as long, with this system's own rate.

        Args:
            profile: Its schedule; the share of warm-up stays.
        """
        own: dict[str, float] = {"num_epochs": profile.num_epochs * self.steps_scale}
        if self.learning_rate is not None:
            own["learning_rate"] = self.learning_rate
        if profile.max_steps is not None:
            own["max_steps"] = max(1, round(profile.max_steps * self.steps_scale))
        return profile.model_copy(update=own)

    @property
    def hides_words(self) -> bool:
        """Whether the phase trains on hidden words or swapped sentences."""
        return bool(set(WORD_TERMS) & set(self.terms))


class Choice(NamedTuple):
    """What a point of the grid weighs, beside its schedule.

    Attributes:
        factors: Of the terms, times the weights of params.yaml.
        temperature: Of kl; None where it is not searched for.
        name: For the log; empty where there is one choice.
    """

    factors: dict[OutputTerm, float]
    temperature: float | None
    name: str


class OutputPhase(Settings):
    """Prediction distillation, or plain fine-tuning by the label term.

    Values left out are the profile's. Lists are searched through, the best on dev is kept.
    """

    terms: list[OutputTerm]
    weights: dict[OutputTerm, Weight] = Field(default_factory=dict)  # times those of params.yaml
    soft_shares: list[Share] | None = Field(default=None, min_length=1)  # a; label has 1 - a
    # Of kl and prediction; None: loss.temperature.
    temperatures: list[Temperature] | None = Field(default=None, min_length=1)
    patient_weights: list[Weight] | None = Field(default=None, min_length=1)
    classifier: Literal["new", "teacher"] = "new"  # teacher: the fine-tuned teacher itself
    data: PhaseData | None = None  # None: as the task's file says
    num_epochs: float | None = Field(default=None, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    batch_sizes: list[BatchSize] | None = Field(default=None, min_length=1)
    learning_rates: list[LearningRate] | None = Field(default=None, min_length=1)
    then: "OutputPhase | None" = None  # a further training that begins with what came out

    def grid(self, profile: Grid) -> Grid:
        """Return the profile's grid with this system's own values in it."""
        names = ("num_epochs", "max_steps", "batch_sizes", "learning_rates")
        own = {name: getattr(self, name) for name in names}
        return profile.model_copy(update={k: v for k, v in own.items() if v is not None})

    @property
    def reads_teacher(self) -> bool:
        """Whether the fine-tuned teacher itself is needed, beside its stored logits."""
        later = self.then is not None and self.then.reads_teacher
        return self.classifier == "teacher" or "patient" in self.terms or later

    def choices(self) -> list[Choice]:
        """Return every combination of soft share, temperature and patient weight."""
        return [
            self._choice(share, temperature, patient)
            for share, temperature, patient in product(
                _values(self.soft_shares), _values(self.temperatures), _values(self.patient_weights)
            )
        ]

    def _choice(
        self, share: float | None, temperature: float | None, patient: float | None
    ) -> Choice:
        factors = dict(self.weights)
        if share is not None:
            factors |= {
                "kl": factors.get("kl", 1.0) * share,
                "label": factors.get("label", 1.0) * (1 - share),
            }
        if patient is not None:
            factors["patient"] = patient
        values = {"share": share, "temperature": temperature, "patient": patient}
        searched = (self.soft_shares, self.temperatures, self.patient_weights)
        name = "_".join(
            f"{key}_{value:g}"
            for (key, value), listed in zip(values.items(), searched, strict=True)
            if value is not None and len(listed or []) > 1
        )
        return Choice(factors, temperature, name)

    @model_validator(mode="after")
    def _terms_fit(self) -> "OutputPhase":
        if self.classifier == "teacher" and self.terms:
            raise ValueError(
                f"classifier teacher is trained already, got terms {', '.join(self.terms)}; write "
                "terms: []"
            )
        if "label" in self.terms and self.data in ("unlabelled", "all"):
            raise ValueError(
                f"data: the term label needs rows with labels, got {self.data}; write original or "
                "augmented, or take the term out"
            )
        if self.soft_shares is not None and not {"kl", "label"} <= set(self.terms):
            raise ValueError(
                f"soft_shares weigh kl against label, got terms {', '.join(self.terms) or 'none'}; "
                "name both, or remove it"
            )
        if self.patient_weights is not None and "patient" not in self.terms:
            raise ValueError(
                f"patient_weights need the term, got terms {', '.join(self.terms) or 'none'}; "
                "name patient, or remove them"
            )
        return self


def _values(listed: list[float] | None) -> list[float | None]:
    return [None] if listed is None else [*listed]


class Bottleneck(Settings):
    """What MobileBERT's layers have beside BERT's (Sun et al. 2020, 2004.02984, section 3)."""

    embedding_size: int = Field(ge=1)
    bottleneck_size: int = Field(ge=1)  # inside a layer, where attention and feed-forward work
    num_feedforward_networks: int = Field(ge=1)


class Shape(Settings):
    """A student's size (TinyBERT4: 4 layers, 312 wide, 1200 feed-forward, 12 heads)."""

    architecture: Literal["bert", "distilbert", "electra", "mobilebert"] = "bert"
    num_hidden_layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    embedding_size: int | None = Field(default=None, ge=1)  # electra's: of the tables, before a map
    bottleneck: Bottleneck | None = None  # mobilebert's

    @property
    def attention_width(self) -> int:
        """How wide queries are, heads joined: MobileBERT's are inside its bottleneck."""
        return self.hidden_size if self.bottleneck is None else self.bottleneck.bottleneck_size

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Shape":
        name = "hidden_size" if self.bottleneck is None else "bottleneck.bottleneck_size"
        if self.attention_width % self.num_attention_heads:
            raise ValueError(
                f"{name} must be a multiple of num_attention_heads, got {self.attention_width} and "
                f"{self.num_attention_heads}; change one"
            )
        return self

    @model_validator(mode="after")
    def _narrow_embeddings_are_electras(self) -> "Shape":
        if (self.architecture == "electra") != (self.embedding_size is not None):
            raise ValueError(
                "embedding_size: architecture electra, and no other, has one of its own, got "
                f"{self.architecture} and {self.embedding_size}; write `architecture: electra` and "
                "`embedding_size: 64`, or remove it"
            )
        return self

    @model_validator(mode="after")
    def _bottleneck_is_mobileberts(self) -> "Shape":
        if (self.architecture == "mobilebert") != (self.bottleneck is not None):
            found = "no bottleneck" if self.bottleneck is None else "a bottleneck"
            raise ValueError(
                f"architecture mobilebert, and no other, has a bottleneck, got {self.architecture} "
                f"and {found}; write `bottleneck: {{embedding_size: 128, bottleneck_size: 128, "
                "num_feedforward_networks: 2}` or remove it"
            )
        return self


class TeacherLayers(Settings):
    """Start from some of the teacher's layers, counted from 1, and its embeddings."""

    teacher_layers: list[int] = Field(min_length=1)


class Checkpoint(Settings):
    """Start from a checkpoint: a folder, or a hub id."""

    checkpoint: str = Field(min_length=1)


# closed_form: fitted to the pretrained teacher on the corpus.
Initialisation = Literal["random", "closed_form"] | TeacherLayers | Checkpoint


class Vocabulary(Settings):
    """What a student reads; of neither key, `teacher`, all pieces of the teacher's tokenizer."""

    # Of those that a task and the corpus use most, from intermediate_distill on.
    max_pieces: int | None = Field(default=None, ge=1)
    # Of a folder, or a hub id, from general_distill on.
    tokenizer: str | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _teachers_is_neither_key(cls, value: object) -> object:
        if value == "teacher":
            return {}
        if not isinstance(value, dict | Vocabulary) or not value:
            raise ValueError(
                f"says nothing, got {value!r}; write teacher, {{max_pieces: 8000}} or {{tokenizer: "
                "folder}"
            )
        return value

    @property
    def is_teachers(self) -> bool:
        """Whether it is the teacher's whole one."""
        return self.max_pieces is None and self.tokenizer is None


class SystemFile(Settings):
    """A file of params/systems/: one row of the result table."""

    description: str
    published: str | None = None  # the row of published.yaml it stands for; None: its own name
    export: bool  # to ONNX and int8; false: for a baseline that nobody deploys
    note: str | None = None  # a line beside the table, such as "architecture only"
    shape: Shape
    vocabulary: Vocabulary = Field(examples=["teacher"])
    initialisation: Initialisation
    layer_map: LayerMap
    projection: Projection
    general_distill: GeneralPhase
    intermediate_distill: LayerPhase
    prediction_distill: OutputPhase

    @model_validator(mode="after")
    def _closed_form_fits_bert(self) -> "SystemFile":
        fitted = {
            "initialisation": self.initialisation == "closed_form",
            "intermediate_distill.start": self.intermediate_distill.start == "closed_form",
        }
        for key, wanted in fitted.items():
            if wanted and self.shape.architecture not in ("bert", "electra"):
                raise ValueError(
                    f"{key}: closed_form fits students of architecture bert or electra, got "
                    f"{self.shape.architecture}; write "
                    f"{'random' if key == 'initialisation' else 'general'}, or another architecture"
                )
        return self

    @model_validator(mode="after")
    def _relation_heads_divide_the_width(self) -> "SystemFile":
        width = self.shape.attention_width
        phases: dict[str, GeneralPhase | LayerPhase] = {
            "general_distill": self.general_distill,
            "intermediate_distill": self.intermediate_distill,
        }
        for name, phase in phases.items():
            if "relations" in phase.terms and width % phase.relation_heads:
                raise ValueError(
                    f"{name}.relation_heads: must divide the student's width {width}, got "
                    f"{phase.relation_heads}; write one of {divisors(width)}, which divides the "
                    "teacher's too"
                )
        return self

    @model_validator(mode="after")
    def _hidden_words_are_the_teachers(self) -> "SystemFile":
        if self.vocabulary.tokenizer is not None and self.general_distill.hides_words:
            raise ValueError(
                "vocabulary.tokenizer: general_distill hides the teacher's words, got "
                f"{self.vocabulary.tokenizer!r}; take its terms of hidden words out, or start from "
                "a checkpoint with this tokenizer"
            )
        return self

    @model_validator(mode="after")
    def _teachers_classifier_has_its_vocabulary(self) -> "SystemFile":
        if self.prediction_distill.classifier == "teacher" and not self.vocabulary.is_teachers:
            raise ValueError(
                "vocabulary: classifier teacher is the teacher itself, got another vocabulary; "
                "write `vocabulary: teacher`"
            )
        return self


def read_system_file(system: str) -> SystemFile:
    """Read the whole of params/systems/<system>.yaml."""
    file = named_file("systems", system)
    return parse(SystemFile, read_yaml(file), str(file))
