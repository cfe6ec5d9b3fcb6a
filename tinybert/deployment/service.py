"""Answer with a distilled model over HTTP, without PyTorch.

python service.py [--host 127.0.0.1] [--port 8000] [--model int8|float32] [--long cut|refuse]

By the model's kind, which GET /health says:

    POST /classify   {"text": "a sentence"}; a pair: and "text_pair": "another one"
                     {"texts": ["one", "two"]}; pairs: and "text_pairs": [...]
    POST /tag        {"text": "..."} or {"texts": [...]}; gives entities by character places
    POST /answer     {"question": "...", "context": "a passage"}; gives a part of the passage
    GET  /health     {"status": "ok", ...}

Requests that wait while the model runs are answered together, in one batch. This file imports
nothing of the project it comes from: it is copied into a bundle beside the model.
"""

import argparse
import asyncio
import itertools
import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tokenizers import Encoding, Tokenizer

FILES = {"int8": "onnx/model_quantized.onnx", "float32": "onnx/model.onnx"}
MOST_TEXTS = 256  # of a request
MOST_BYTES = 4_000_000  # of a request's body
MOST_WAITING = 4096  # rows; more are refused with status 503
PATHS = {"tokens": "/tag", "span": "/answer"}  # by kind
CLASSIFY = "/classify"  # of every other kind
RIGHT = '{"text": "a sentence"}'
RIGHT_QUESTION = '{"question": "who?", "context": "a passage"}'
EVEN = 0.5  # the threshold of a label that has none
OUTSIDE = "O"  # the tag of a word of no entity
NOWHERE = (-1, -1)  # the place of a token that is not of the text
SPECIAL_OF_PAIR = 4  # tokens at most: RoBERTa's </s></s> between the two
# Words as the model's training had them: runs of letters, digits and marks; what formats them may
# stand inside; anything else but space is a word by itself, and so is a letter of a script that is
# written without spaces, as Chinese, Japanese and Thai are.
SHAPES = re.compile(r"[wm](?:[wmf]*[wm])?|pm*")
SHAPE_OF = {"L": "w", "N": "w", "M": "m", "P": "p", "S": "p", "Z": " "}
SHAPE_OF_OTHERS = {"Cf": "f", "Co": "p", "Cn": "p"}
ZERO_WIDTH_SPACE = "\u200b"
UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f"
    "\ua980-\ua9ff\uaa60-\uaa7f\uaa80-\uaadf\U00011700-\U0001174f"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3040-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U000323af]"
)

Place = tuple[int, int]  # the first character, and the one behind the last
Filled = Annotated[str, Field(min_length=1)]
Row = tuple[str, str | None]  # a text and its second one; a question and its passage


class Texts(BaseModel):
    """A request for answers: one text or several, or as many pairs."""

    model_config = ConfigDict(extra="forbid")
    text: Filled | None = None
    text_pair: Filled | None = None
    texts: list[Filled] | None = Field(default=None, min_length=1, max_length=MOST_TEXTS)
    text_pairs: list[Filled] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Texts":
        if (self.text is None) == (self.texts is None):
            raise ValueError('write "text" or "texts", and one of them alone')
        if (self.text_pair is not None and self.text is None) or (
            self.text_pairs is not None and len(self.text_pairs) != len(self.texts or [])
        ):
            raise ValueError('a "text_pair" goes with "text", as many "text_pairs" with "texts"')
        return self

    @property
    def rows(self) -> list[Row]:
        """The texts, each with its second one or None."""
        if self.texts is None:
            return [(self.text or "", self.text_pair)]
        seconds = itertools.repeat(None) if self.text_pairs is None else self.text_pairs
        return list(zip(self.texts, seconds, strict=False))


class Question(BaseModel):
    """A request for the answer to a question in a passage."""

    model_config = ConfigDict(extra="forbid")
    question: Filled
    context: Filled


class RefusedError(Exception):
    """A request that gets no answer, with a status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


@dataclass(frozen=True)
class Encoded:
    """What the model reads at once: a text or a window of one.

    Attributes:
        ids: Of its tokens.
        segments: 0 or 1 for each of them.
        cut: Whether some of the text is read in no window.
        places: Of each token in its text, of a question's in the passage; NOWHERE of others.
    """

    ids: list[int]
    segments: list[int]
    cut: bool
    places: Sequence[Place] = ()


class Text(NamedTuple):
    """A text or a pair as tokens, whatever their number.

    Attributes:
        ids: Of the tokens.
        segments: 0 or 1 for each of them.
        places: As `Encoded` has them.
        begin: The first token of the text that may be cut.
        end: The one behind its last.
    """

    ids: list[int]
    segments: list[int]
    places: list[Place]
    begin: int
    end: int

    @classmethod
    def of(cls, found: Encoding, which: int) -> "Text":
        """Return an encoding with the places of one of its texts, the first (0) or second (1)."""
        inside = [number for number, each in enumerate(found.sequence_ids) if each == which]
        begin, end = (inside[0], inside[-1] + 1) if inside else (0, 0)
        places = [NOWHERE] * len(found.ids)
        places[begin:end] = [p if p[0] < p[1] else NOWHERE for p in found.offsets[begin:end]]
        return cls(found.ids, found.type_ids, places, begin, end)

    def room(self, max_length: int) -> int:
        """Return how many of the text's tokens so many leave, beside the others."""
        return max_length - len(self.ids) + self.end - self.begin

    def part(self, kept: Sequence[int], cut: bool) -> Encoded:
        """Return some of the tokens."""
        return Encoded(
            [self.ids[number] for number in kept],
            [self.segments[number] for number in kept],
            cut,
            [self.places[number] for number in kept],
        )


class Entity(NamedTuple):
    """An entity by the numbers of its first and last word."""

    label: str
    first: int
    last: int


def split_words(text: str) -> list[Place]:
    """Return the places of a text's words."""
    return [match.span() for match in SHAPES.finditer("".join(map(_shape, text)))]


def _shape(character: str) -> str:
    category = unicodedata.category(character)
    if character == ZERO_WIDTH_SPACE:
        return " "
    if category[0] == "L" and UNSPACED.match(character):
        return "p"
    return SHAPE_OF.get(category[0]) or SHAPE_OF_OTHERS.get(category, " ")


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of tags of IOB2, one a word; an I- that goes on none begins one."""
    found: list[Entity] = []
    for number, tag in enumerate(tags):
        prefix, _, label = tag.partition("-")
        last = found[-1] if found else None
        if prefix == "I" and last and (last.label, last.last) == (label, number - 1):
            found[-1] = last._replace(last=number)
        elif tag != OUTSIDE:
            found.append(Entity(label, number, number))
    return found


def as_tags(labels: Sequence[str]) -> list[str]:
    """Return labels as tags of IOB2; of those without prefixes each word is an entity."""
    if all(label == OUTSIDE or label[:2] in ("B-", "I-") for label in labels):
        return list(labels)
    return [label if label == OUTSIDE else f"B-{label}" for label in labels]


class Reader:
    """Turns texts into rows of tokens, as those were that the model was trained on.

    Args:
        file: The tokenizer's.
        about: The content of bundle.json.
    """

    def __init__(self, file: Path, about: dict[str, Any]) -> None:
        self.max_length, self.kind = int(about["max_length"]), str(about["kind"])
        self.long, self.stride = str(about["long"]), int(about["stride"])
        # One of its own for each use: a tokenizer cannot be changed while another thread reads.
        self.whole, self.cutting = (Tokenizer.from_file(str(file)) for _ in range(2))
        for tokenizer in (self.whole, self.cutting):
            tokenizer.no_padding()
        self.whole.no_truncation()
        self.cutting.enable_truncation(self.max_length, strategy="longest_first")

    def read(self, rows: Sequence[Row]) -> list[list[Encoded]]:
        """Return each row's windows: one, but of a longer text that is read in windows."""
        texts = [first if second is None else (first, second) for first, second in rows]
        if self.kind == "span":
            return [self._question(first, second or "") for first, second in rows]
        if self.long == "windows":
            return [
                self._windows(Text.of(self.whole.encode(first), 0), self.stride)
                if second is None
                else self._pair([first, second])
                for first, second in rows
            ]
        if self.long == "head_tail":
            return [[self._head_and_tail(Text.of(e, 0))] for e in self.whole.encode_batch(texts)]
        return [
            [Text.of(each, 0).part(range(len(each.ids)), bool(each.overflowing))]
            for each in self.cutting.encode_batch(texts)
        ]

    def _head_and_tail(self, text: Text) -> Encoded:
        """Keep the first quarter of the tokens allowed, and the last three quarters."""
        room, length = text.room(self.max_length), len(text.ids)
        if text.end - text.begin <= room:
            return text.part(range(length), False)
        head = room // 4
        kept = [*range(text.begin + head), *range(text.end - (room - head), length)]
        return text.part(kept, True)

    def _windows(self, text: Text, stride: int, cut: bool = False) -> list[Encoded]:
        """Cut a text to windows.

        Args:
            text: The text; each window has all other tokens too.
            stride: Tokens that a window shares with the next one.
            cut: Whether something else was cut.
        """
        room, length = text.room(self.max_length), len(text.ids)
        windows: list[Encoded] = []
        for start in range(text.begin, max(text.end, text.begin + 1), room - stride):
            stop = min(start + room, text.end)
            kept = [*range(text.begin), *range(start, stop), *range(text.end, length)]
            windows.append(text.part(kept, cut))
            if stop == text.end:
                break
        return windows

    def _pair(self, texts: list[str]) -> list[Encoded]:
        """Cut the longer text to windows, each with the other one or with half of a row of it."""
        half = (self.max_length - SPECIAL_OF_PAIR) // 2
        sizes = [len(self._tokens(text).ids) for text in texts]
        longer = 0 if sizes[0] > sizes[1] else 1
        other = 1 - longer
        if cut := sizes[other] > half:
            texts[other] = self._first_tokens(texts[other], half)
        found = Text.of(self.whole.encode(texts[0], texts[1]), longer)
        return self._windows(found, min(self.stride, half // 2), cut)

    def _question(self, question: str, context: str) -> list[Encoded]:
        """Cut a passage to windows, each with the question.

        A question may have half of what special tokens and the stride leave; a longer one is cut.
        """
        special = self.whole.num_special_tokens_to_add(True)
        limit = (self.max_length - special - self.stride) // 2
        asked = question
        while len(offsets := self._tokens(asked).offsets) > limit:  # a cut word may be more tokens
            asked = asked[: offsets[limit][0]]
        found = Text.of(self.whole.encode(asked, context), 1)
        return self._windows(found, self.stride, asked != question)

    def _tokens(self, text: str) -> Encoding:
        return self.whole.encode(text, add_special_tokens=False)

    def _first_tokens(self, text: str, count: int) -> str:
        return text[: self._tokens(text).offsets[count - 1][1]]


class Classifier:
    """A bundle's model, tokenizer, labels and thresholds.

    Args:
        folder: The bundle.
        model: Which of its two models.
        long: What is done with a text of which not all is read.
        num_threads: Of one pass; 0: as many as there are cores.
    """

    def __init__(
        self,
        folder: Path,
        model: Literal["int8", "float32"] = "int8",
        long: Literal["cut", "refuse"] = "cut",
        num_threads: int = 0,
    ) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        about = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        self.name, self.pair, self.long = str(about["name"]), bool(about["pair"]), long
        self.kind, self.pool = str(about["kind"]), str(about["pool"])
        self.path = PATHS.get(self.kind, CLASSIFY)
        self.max_answer_length = int(about["max_answer_length"])
        self.max_length, self.pad_id = int(about["max_length"]), int(config["pad_token_id"] or 0)
        names = {} if self.kind in ("regression", "span") else _numbered(config["id2label"])
        self.labels = [label for _, label in sorted(names.items())]
        chosen = config.get("thresholds") or {}
        self.thresholds = np.array([float(chosen.get(label, EVEN)) for label in self.labels])
        self.null_threshold: float | None = config.get("null_threshold")
        self.reader = Reader(folder / "tokenizer.json", about)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(folder / FILES[model]), options, ["CPUExecutionProvider"]
        )
        self.inputs = [each.name for each in self.session.get_inputs()]

    def encode(self, rows: Sequence[Row]) -> list[list[Encoded]]:
        """Return the windows of each row.

        Raises:
            RefusedError: A text is longer than may be, lacks its second one, or has one too many.
        """
        for _, second in rows:
            if self.pair and second is None:
                raise RefusedError(
                    422, f'{self.name} takes pairs, got a single text; add "text_pair"'
                )
            if not self.pair and second is not None:
                raise RefusedError(
                    422, f'{self.name} takes single texts, got a pair; drop "text_pair"'
                )
        found = self.reader.read(rows)
        for number, windows in enumerate(found):
            if windows[0].cut and self.long == "refuse":
                raise RefusedError(
                    422,
                    f"text {number + 1} has more than {self.max_length} tokens, which the model "
                    "was made for; shorten it, or start the service with --long cut",
                )
        if sum(map(len, found)) > MOST_WAITING:
            raise RefusedError(
                413,
                f"the texts must be at most {MOST_WAITING:,} windows of {self.max_length} tokens, "
                f"got {sum(map(len, found)):,}; send less at once",
            )
        return found

    def logits(self, rows: Sequence[Encoded]) -> Any:
        """Return the logits of rows, shape (rows, outputs), of each token (rows, tokens, outputs).

        Of questions the two outputs are an answer's first and last token.
        """
        length = max(len(row.ids) for row in rows)
        batch = {
            "input_ids": np.full((len(rows), length), self.pad_id, dtype=np.int64),
            "attention_mask": np.zeros((len(rows), length), dtype=np.int64),
            "token_type_ids": np.zeros((len(rows), length), dtype=np.int64),
        }
        for number, row in enumerate(rows):
            batch["input_ids"][number, : len(row.ids)] = row.ids
            batch["attention_mask"][number, : len(row.ids)] = 1
            batch["token_type_ids"][number, : len(row.ids)] = row.segments
        found = self.session.run(None, {name: batch[name] for name in self.inputs})
        return np.stack(found, axis=-1) if self.kind == "span" else found[0]

    def answer(self, row: Row, windows: Sequence[Encoded], logits: Sequence[Any]) -> dict[str, Any]:
        """Return a row's answer, by the model's kind.

        Args:
            row: What was asked.
            windows: Of `encode`.
            logits: Of each window.
        """
        if self.kind == "tokens":
            said = {"entities": self._entities(row[0], windows, logits)}
        elif self.kind == "span":
            said = self._best_answer(row[1] or "", windows, logits)
        else:
            said = self._of_row(self._pooled(np.stack(logits)))
        return said | ({"cut": True} if windows[0].cut else {})

    def _pooled(self, logits: Any) -> Any:
        """Return a text's logits from those of its windows, shape (windows, outputs)."""
        if self.pool == "first":
            return logits[0]
        return logits.max(axis=0) if self.pool == "max" else logits.mean(axis=0)

    def _of_row(self, logits: Any) -> dict[str, Any]:
        """Say a text's label with all probabilities, its labels with them, or its value."""
        if self.kind == "regression":
            return {"value": float(logits[0])}
        if self.kind == "multilabel":
            shares = 1 / (1 + np.exp(-logits.astype(np.float64)))
            named = np.flatnonzero(shares > self.thresholds)
            said: dict[str, Any] = {"labels": [self.labels[number] for number in named]}
        else:
            shares = _shares(logits)
            best = int(shares.argmax())
            said = {"label": self.labels[best], "probability": float(shares[best])}
        probabilities = dict(zip(self.labels, map(float, shares), strict=True))
        return said | {"probabilities": probabilities}

    def _entities(
        self, text: str, windows: Sequence[Encoded], logits: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """Return a text's entities by character places; a score is the mean over its words."""
        words = split_words(text)
        tags, scores = [OUTSIDE] * len(words), [0.0] * len(words)
        names, shown = as_tags(self.labels), set[int]()
        for word, values in _word_logits(words, windows, logits):
            shares = _shares(values)
            best = int(shares.argmax())
            tags[word], scores[word] = names[best], float(shares[best])
            shown.add(word)
        for word in self._inside_tokens(text, words, shown):
            inside = f"I-{tags[word - 1][2:]}"
            tags[word] = inside if inside in names else tags[word - 1]
            scores[word] = scores[word - 1]
        found = []
        for label, first, last in entities_of(tags):
            start, end = words[first][0], words[last][1]
            score = sum(scores[first : last + 1]) / (last + 1 - first)
            said = {"start": start, "end": end, "label": label, "text": text[start:end]}
            found.append({**said, "score": score})
        return found

    def _inside_tokens(
        self, text: str, words: Sequence[Place], shown: Collection[int]
    ) -> Iterator[int]:
        """Yield the words, letters of scripts without spaces, that begin inside of a token.

        Where long texts are cut, what follows the last token is in none.

        Args:
            text: The text.
            words: Their places.
            shown: The words that a token begins with.
        """
        last = len(words) if self.reader.long == "windows" else max(shown, default=0)
        for word in range(min(shown, default=last) + 1, last):
            start = words[word][0]
            if word not in shown and start == words[word - 1][1] and UNSPACED.match(text[start]):
                yield word

    def _best_answer(
        self, context: str, windows: Sequence[Encoded], logits: Sequence[Any]
    ) -> dict[str, Any]:
        """Return the best answer in a passage; none where the null score is too far above it.

        A score is the sum of start and end logit; the null score, of a window's first token, is the
        least of all windows.
        """
        null_score, score, best = np.inf, -np.inf, NOWHERE
        for window, each in zip(windows, logits, strict=True):
            values, places = each[: len(window.ids)].astype(np.float64), window.places
            null_score = min(null_score, values[0].sum())
            inside = [number for number, place in enumerate(places) if place != NOWHERE]
            if not inside:
                continue
            sums = values[inside, 0][:, None] + values[inside, 1]
            allowed = np.triu(np.ones_like(sums)) - np.triu(
                np.ones_like(sums), self.max_answer_length
            )
            sums = np.where(allowed > 0, sums, -np.inf)
            start, end = np.unravel_index(sums.argmax(), sums.shape)
            if sums[start, end] > score:
                score = float(sums[start, end])
                best = (places[inside[start]][0], places[inside[end]][1])
        found = {"score": score if best != NOWHERE else None, "null_score": float(null_score)}
        too_far = self.null_threshold is not None and null_score - score > self.null_threshold
        if best == NOWHERE or too_far:
            return {"answer": None, "start": None, "end": None} | found
        return {"answer": context[slice(*best)], "start": best[0], "end": best[1]} | found


def _numbered(names: dict[str, str]) -> dict[int, str]:
    return {int(number): name for number, name in names.items()}


def _shares(logits: Any) -> Any:
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def _word_logits(
    words: Sequence[Place], windows: Sequence[Encoded], logits: Sequence[Any]
) -> Iterator[tuple[int, Any]]:
    """Yield words with the logits of their first tokens.

    A word that several windows hold is read in the one that shows most on its shorter side.
    """
    best: dict[int, tuple[int, Any]] = {}
    for window, values in zip(windows, logits, strict=True):
        length = len(window.ids)
        for at, word in _first_tokens(words, window):
            margin = min(at, length - 1 - at)
            if word not in best or margin > best[word][0]:
                best[word] = (margin, values[at])
    for word, (_, of_word) in best.items():
        yield word, of_word


def _first_tokens(words: Sequence[Place], window: Encoded) -> Iterator[tuple[int, int]]:
    """Yield the tokens that are the first ones of words, and the words' numbers."""
    ends, seen = [end for _, end in words], -1
    for at, (begin, stop) in enumerate(window.places):
        word = bisect_right(ends, begin)
        # A tokenizer may count the space before a word to its first token.
        if seen < word < len(words) and begin <= words[word][0] < stop:
            seen = word
            yield at, word


class Batcher:
    """Runs the model in one thread, over all rows that wait, up to a number of tokens.

    Args:
        classifier: The model.
        batch_tokens: Padded tokens of a batch; a longer row is one alone.
    """

    def __init__(self, classifier: Classifier, batch_tokens: int) -> None:
        self.classifier, self.batch_tokens = classifier, batch_tokens
        self.waiting: list[tuple[Encoded, asyncio.Future[Any]]] = []
        self.arrived = asyncio.Event()

    async def ask(self, rows: Sequence[Encoded]) -> list[Any]:
        """Return the logits of rows.

        Raises:
            RefusedError: Too many rows wait.
        """
        if len(self.waiting) + len(rows) > MOST_WAITING:
            raise RefusedError(503, f"{len(self.waiting):,} texts wait already; try again later")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in rows]
        self.waiting += zip(rows, futures, strict=True)
        self.arrived.set()
        return await asyncio.gather(*futures)

    def next_batch(self) -> list[tuple[Encoded, asyncio.Future[Any]]]:
        """Take the first rows that wait, as many as fit."""
        longest, count = 0, 0
        for row, _ in self.waiting:
            longest = max(longest, len(row.ids))
            if count and longest * (count + 1) > self.batch_tokens:
                break
            count += 1
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return [each for each in taken if not each[1].done()]  # a client may have left

    async def serve(self) -> None:
        """Answer what arrives, for ever."""
        while True:
            await self.arrived.wait()
            self.arrived.clear()
            while self.waiting:
                batch = self.next_batch()
                if not batch:
                    continue
                try:
                    found = await asyncio.to_thread(
                        self.classifier.logits, [row for row, _ in batch]
                    )
                except Exception as error:  # of one batch; the service goes on
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), logits in zip(batch, found, strict=True):
                    if not future.done():
                        future.set_result(logits)


class BodyLimit:
    """Reads a request's body before anything looks at it; one that is too large gets status 413."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(  # noqa: D102  (ASGI's)
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_BYTES:
                line = f"the body has more than {MOST_BYTES:,} bytes; send less at once"
                await _line(413, line)(scope, receive, send)
                return
        replayed = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def read() -> Message:
            return next(replayed, None) or await receive()

        await self.app(scope, read, send)


def make_app(classifier: Classifier, batch_tokens: int = 4096) -> FastAPI:
    """Return the service.

    Args:
        classifier: What answers.
        batch_tokens: Padded tokens that are answered together.
    """

    @asynccontextmanager
    async def serving(app: FastAPI) -> AsyncIterator[None]:
        app.state.batcher = Batcher(classifier, batch_tokens)
        task = asyncio.create_task(app.state.batcher.serve())
        yield
        task.cancel()

    app = FastAPI(title=classifier.name, lifespan=serving)
    right = f"right is {RIGHT_QUESTION if classifier.kind == 'span' else RIGHT}"

    app.add_middleware(BodyLimit)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        message = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "json_invalid":
            return _line(400, f"the body is no JSON, wrong at character {place}; {right}")
        if not place and first["type"] != "value_error":
            return _line(
                422, f"the body is no JSON object of content type application/json; {right}"
            )
        return _line(422, f"{place}: {message}" if place else message)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return _line(error.status_code, f"{request.method} {request.url.path}: {error.detail}")

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return _line(error.status, error.line)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "name": classifier.name,
            "kind": classifier.kind,
            "path": classifier.path,
            "labels": classifier.labels,
            "pairs": classifier.pair,
            "max_length": classifier.max_length,
            "reads": classifier.reader.long,
            "long": classifier.long,
        }

    async def answers(rows: Sequence[Row]) -> list[dict[str, Any]]:
        windows = await asyncio.to_thread(classifier.encode, rows)
        logits = iter(await app.state.batcher.ask([each for of in windows for each in of]))
        of_rows = [list(itertools.islice(logits, len(of))) for of in windows]

        def said() -> list[dict[str, Any]]:
            return [classifier.answer(*each) for each in zip(rows, windows, of_rows, strict=True)]

        # A long text's words and answers take a while, in which others must not wait.
        return await asyncio.to_thread(said) if classifier.kind in PATHS else said()

    async def texts(asked: Texts) -> Any:
        found = await answers(asked.rows)
        return found[0] if asked.texts is None else found

    async def question(asked: Question) -> Any:
        return (await answers([(asked.question, asked.context)]))[0]

    async def elsewhere(request: Request) -> JSONResponse:
        line = f"{classifier.name} is of kind {classifier.kind}; ask POST {classifier.path}"
        return _line(404, f"POST {request.url.path}: {line}")

    app.post(classifier.path)(question if classifier.kind == "span" else texts)
    for path in {CLASSIFY, *PATHS.values()} - {classifier.path}:
        app.post(path, include_in_schema=False)(elsewhere)

    return app


def _line(status: int, line: str) -> JSONResponse:
    return JSONResponse({"error": line}, status)


def main() -> None:
    """Serve the bundle that this file lies in."""
    import uvicorn

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", choices=list(FILES), default="int8")
    parser.add_argument("--long", choices=["cut", "refuse"], default="cut")
    parser.add_argument("--threads", type=int, default=0, help="of one pass; 0: as many as cores")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="answered together")
    chosen = parser.parse_args()
    classifier = Classifier(Path(__file__).parent, chosen.model, chosen.long, chosen.threads)
    uvicorn.run(
        make_app(classifier, chosen.batch_tokens),
        host=chosen.host,
        port=chosen.port,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
