"""The application: what may be asked of a trained model over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

import pyarrow as pa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sklar._version import __version__
from sklar.data.wide import OnUndated
from sklar.errors import SklarError
from sklar.runs import Run, Told, predicted
from sklar.runs.stream import Empty
from sklar.serving.guard import Guard
from sklar.serving.rows import as_table, described, row_model
from sklar.serving.worker import BusyError, Worker

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
"""What a browser may fetch, all from this package."""


@dataclass(frozen=True)
class Settings:
    """Of a server.

    Attributes:
        draws: Draws of the missing latents; None is the run's own number.
        on_empty: What a row with nothing observed gets: "error" answers 422.
        on_undated: Whether pictures and texts without a time are taken, where the schema has a time zero.
        rows: Most rows of one request.
        bytes: Most bytes of a body.
        waiting: Most requests that wait; further ones are told to come back.
        hosts: Names under which the server may be addressed; "*" is any.
    """

    draws: int | None = None
    on_empty: Empty = "error"
    on_undated: OnUndated = "error"
    rows: int = 1000
    bytes: int = 16 * 2**20
    waiting: int = 256
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")


class Prediction(BaseModel):
    """The answer to one row; of several outputs a number per output."""

    model_config = ConfigDict(frozen=True)

    id: str | None
    probability: float | dict[str, float] | None
    low: float | dict[str, float] | None = Field(
        description="Where the probability would lie, in 95 of 100 rows, if nothing were missing"
    )
    high: float | dict[str, float] | None = Field(description="Its upper end; no confidence interval")
    observed: list[str]
    imputed: list[str]
    warnings: list[str]


class Predictions(BaseModel):
    """The answers to several rows, in their order."""

    model_config = ConfigDict(frozen=True)

    predictions: list[Prediction]


def application(run: Run, settings: Settings, card: Callable[[], str]) -> FastAPI:
    """The application of one run.

    Args:
        run: A finished run of a model.
        settings: Limits.
        card: Gives the model card, in Markdown; called when somebody asks for it.

    Raises:
        UserError: The run is a reference model.
    """
    _ = run.model, run.calibration  # read before the first request

    def answer(table: pa.Table) -> pa.Table:
        return predicted(
            run, table, Told(), settings.draws,
            on_empty=settings.on_empty, on_undated=settings.on_undated, paths=False,
        )  # fmt: skip

    worker = Worker(answer, run.row_schema.id, settings.waiting)

    @asynccontextmanager
    async def working(_app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        worker.stop()

    app = FastAPI(
        title=f"sklar: {run.data['label']}",
        version=__version__,
        description="Predictions of a trained model. A field that is absent or null is missing.",
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        lifespan=working,
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts))
    app.add_middleware(Guard, limit=settings.bytes)
    _handle_errors(app)
    _answer_patients(app, run, settings.rows, worker)
    _tell_of_the_run(app, run, settings, worker, card)
    for address, (name, kind) in PAGE.items():
        app.add_api_route(address, _file(name, kind), include_in_schema=False)
    return app


def _answer_patients(app: FastAPI, run: Run, most: int, worker: Worker) -> None:
    """The addresses that predict."""
    schema, outputs = run.row_schema, run.schema.outputs if run.schema.task != "binary" else ()
    row: Any = row_model(schema)
    many = Annotated[list[row], Field(min_length=1, max_length=most)]
    rows: Any = create_model("Patients", __config__=ConfigDict(extra="forbid"), rows=(many, ...))

    async def ask(asked: list[BaseModel]) -> list[Prediction]:
        names, table = as_table(schema, asked)
        found = await worker.ask(table)
        return [_prediction(name, own, outputs) for name, own in zip(names, found.to_pylist(), strict=True)]

    @app.post("/predict")
    async def predict(patient: row) -> Prediction:
        """Predict one patient."""
        return (await ask([patient]))[0]

    @app.post("/predict/batch")
    async def predict_batch(patients: rows) -> Predictions:
        """Predict several patients."""
        return Predictions(predictions=await ask(patients.rows))


def _tell_of_the_run(
    app: FastAPI, run: Run, settings: Settings, worker: Worker, card: Callable[[], str]
) -> None:
    """The addresses that say what answers."""

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server answers, and how many requests wait."""
        return {"status": "ok", "model": run.config.model.name, "waiting": worker.waiting}

    @app.get("/card", response_class=PlainTextResponse)
    async def model_card() -> PlainTextResponse:
        """The model card, in Markdown."""
        return PlainTextResponse(await asyncio.to_thread(card), media_type="text/markdown")

    @app.get("/contract")
    async def contract() -> dict[str, Any]:
        """What the model reads and answers."""
        return _contract(run, settings)


def _contract(run: Run, settings: Settings) -> dict[str, Any]:
    return {
        "model": run.config.model.name,
        "label": run.data["label"],
        "task": run.schema.task,
        "outputs": list(run.schema.outputs),
        "horizon_days": run.schema.horizon,
        "id": run.schema.id,
        "time_zero": run.schema.time_zero,
        "modalities": {name: own.model_dump(mode="json") for name, own in run.row_schema.modalities.items()},
        "draws": settings.draws or run.config.training.draws,
        "on_empty": settings.on_empty,
        "limits": {"rows": settings.rows, "bytes": settings.bytes, "waiting": settings.waiting},
        "row": described(run.row_schema),
    }


def _prediction(name: str | None, own: Mapping[str, Any], outputs: tuple[str, ...]) -> Prediction:
    def number(kind: str) -> Any:
        if not outputs:
            return own[kind]
        found = {output: own[f"{kind}_{output}"] for output in outputs}
        return None if None in found.values() else found

    return Prediction(
        id=name,
        probability=number("probability"),
        low=number("low"),
        high=number("high"),
        **{kind: own[kind] for kind in ("observed", "imputed", "warnings")},
    )


def _handle_errors(app: FastAPI) -> None:
    """Say what is wrong with a request, and nothing of what it held or of where the server lies."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        reasons = [{"where": _place(own), "reason": own["msg"]} for own in error.errors()]
        return JSONResponse({"detail": reasons}, 422)

    @app.exception_handler(SklarError)
    async def refused(_request: Request, error: SklarError) -> JSONResponse:
        return JSONResponse({"detail": [{"where": "rows", "reason": str(error)}]}, 422)

    @app.exception_handler(BusyError)
    async def busy(_request: Request, _error: BusyError) -> JSONResponse:
        said = "as many requests wait as may: ask again in a moment"
        return JSONResponse({"detail": said}, 503, {"retry-after": "1"})


def _place(error: Mapping[str, Any]) -> str:
    """Where in the body something is wrong; of what is no JSON there is no place."""
    inside = error["loc"][1:] if error["type"] != "json_invalid" else ()
    return ".".join(map(str, inside)) or "body"


def _file(name: str, kind: str) -> Any:
    content = files("sklar.serving").joinpath("page", name).read_bytes()

    async def answer() -> Response:
        return Response(content, media_type=kind)

    return answer
