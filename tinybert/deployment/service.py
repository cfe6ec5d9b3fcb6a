"""Answer with a distilled classifier over HTTP, without PyTorch.

python service.py [--host 127.0.0.1] [--port 8000] [--model int8|float32] [--long cut|refuse]

    POST /classify   {"text": "a sentence"}; a pair: and "text_pair": "another one"
                     {"texts": ["one", "two"]}; pairs: and "text_pairs": [...]
    GET  /health     {"status": "ok", ...}

Requests that wait while the model runs are answered together, in one batch. This file imports
nothing of the project it comes from: it is copied into a bundle beside the model.
"""

import argparse
import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tokenizers import Tokenizer

FILES = {"int8": "onnx/model_quantized.onnx", "float32": "onnx/model.onnx"}
MOST_TEXTS = 256  # of a request
MOST_BYTES = 4_000_000  # of a request's body
RIGHT = 'right is {"text": "a sentence"}'
MOST_WAITING = 4096  # rows; more are refused with status 503


class Answers(BaseModel):
    """A request for answers: one text or several, or as many pairs."""

    model_config = ConfigDict(extra="forbid")
    text: str | None = Field(default=None, min_length=1)
    text_pair: str | None = None
    texts: list[str] | None = Field(default=None, min_length=1, max_length=MOST_TEXTS)
    text_pairs: list[str] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Answers":
        if (self.text is None) == (self.texts is None):
            raise ValueError('write "text" or "texts", and one of them alone')
        if (self.text_pair is not None and self.text is None) or (
            self.text_pairs is not None and len(self.text_pairs) != len(self.texts or [])
        ):
            raise ValueError('a "text_pair" goes with "text", as many "text_pairs" with "texts"')
        return self

    @property
    def rows(self) -> list[tuple[str, str | None]]:
        """The texts, each with its second one or None."""
        if self.texts is None:
            return [(self.text or "", self.text_pair)]
        seconds = itertools.repeat(None) if self.text_pairs is None else self.text_pairs
        return list(zip(self.texts, seconds, strict=False))


class RefusedError(Exception):
    """A request that gets no answer, with a status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


@dataclass(frozen=True)
class Encoded:
    """A text's ids and segments, and whether it was cut."""

    ids: list[int]
    segments: list[int]
    cut: bool


class Classifier:
    """A bundle's model, tokenizer and labels.

    Args:
        folder: The bundle.
        model: Which of its two models.
        long: What is done with a text that has more tokens than the model was trained on.
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
        self.max_length, self.pad_id = int(about["max_length"]), int(config["pad_token_id"] or 0)
        self.is_regression = config.get("problem_type") == "regression"
        self.labels = [label for _, label in sorted(_numbered(config["id2label"]).items())]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_length, strategy="longest_first")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(folder / FILES[model]), options, ["CPUExecutionProvider"]
        )
        self.inputs = [each.name for each in self.session.get_inputs()]

    def encode(self, rows: Sequence[tuple[str, str | None]]) -> list[Encoded]:
        """Return the rows' tokens.

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
        pairs = [first if second is None else (first, second) for first, second in rows]
        found = [
            Encoded(each.ids, each.type_ids, bool(each.overflowing))
            for each in self.tokenizer.encode_batch(pairs)
        ]
        for number, each in enumerate(found):
            if each.cut and self.long == "refuse":
                raise RefusedError(
                    422,
                    f"text {number + 1} has more than {self.max_length} tokens, which the model "
                    "was made for; shorten it, or start the service with --long cut",
                )
        return found

    def logits(self, rows: Sequence[Encoded]) -> Any:
        """Return the logits of rows, shape (rows, outputs)."""
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
        (found,) = self.session.run(["logits"], {name: batch[name] for name in self.inputs})
        return found

    def answer(self, logits: Any, cut: bool) -> dict[str, Any]:
        """Return a row's answer: its label with all probabilities, or its value."""
        said: dict[str, Any] = {"cut": True} if cut else {}
        if self.is_regression:
            return {"value": float(logits[0])} | said
        shares = np.exp(logits - logits.max())
        shares = shares / shares.sum()
        best = int(shares.argmax())
        probabilities = dict(zip(self.labels, map(float, shares), strict=True))
        return {
            "label": self.labels[best],
            "probability": float(shares[best]),
            "probabilities": probabilities,
        } | said


def _numbered(names: dict[str, str]) -> dict[int, str]:
    return {int(number): name for number, name in names.items()}


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

    app.add_middleware(BodyLimit)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        message = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "json_invalid":
            return _line(400, f"the body is no JSON, wrong at character {place}; {RIGHT}")
        if not place and first["type"] != "value_error":
            return _line(
                422, f"the body is no JSON object of content type application/json; {RIGHT}"
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
            "labels": [] if classifier.is_regression else classifier.labels,
            "pairs": classifier.pair,
            "max_length": classifier.max_length,
            "long": classifier.long,
        }

    @app.post("/classify")
    async def classify(asked: Answers) -> Any:
        rows = await asyncio.to_thread(classifier.encode, asked.rows)
        logits = await app.state.batcher.ask(rows)
        found = [classifier.answer(each, row.cut) for each, row in zip(logits, rows, strict=True)]
        return found[0] if asked.texts is None else found

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
