"""The HTTP side of the server: `create_app(engine)` returns the FastAPI application.

`POST /generate`, `GET /health`, the demo page at `/`, `/docs` and `/openapi.json`. Every
refusal is `{"detail", "request_id"}`; neither answers nor logs repeat a dialogue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

import medisum_utils
from medisum_utils.modelling.generation import WrittenNote
from medisum_utils.notes import JOINT, UNKNOWN, split_sections
from medisum_utils.serving.checks import Limits, Refusal, check_dialogue
from medisum_utils.serving.docs import docs_page
from medisum_utils.serving.engine import OK, Engine
from medisum_utils.serving.guard import CLIENT_GONE, Guard, refusal_response

STATIC = Path(__file__).with_name("static")
STATIC_FILES = {"/": "index.html", "/static/demo.css": "demo.css", "/static/demo.js": "demo.js"}
NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
DESCRIPTION = (
    "Writes a SOAP note from a conversation between doctor and patient. A research demonstration: "
    "notes may omit facts or contain hallucinated ones. Not for clinical use."
)


class DialogueIn(BaseModel):
    """The conversation to summarise."""

    dialogue: str = Field(
        description="At least two turns, each on its own line as Speaker: text.",
        examples=["Doctor: What brings you in?\nPatient: I've had a cough for three days."],
    )


class Sections(BaseModel):
    """The note split by SOAP section; a section that the model did not write is empty."""

    subjective: str
    objective: str
    assessment: str
    plan: str


class NoteOut(BaseModel):
    """The note as the model wrote it, and the same note split by section."""

    soap_note: str = Field(description="The whole note, as the model wrote it.")
    sections: Sections
    assessment_and_plan: str = Field(
        description="What stands under one header for both; empty where the note keeps them apart."
    )
    unknown: str = Field(description="The part of the note that is under none of these headers.")
    finished: bool = Field(description="False if the note was cut off at the token limit.")
    model: str = Field(description="The base model and the adapter that wrote it.")


def n_soap_sections(answer: Mapping[str, Any]) -> int:
    """How many of the four sections an answer of `/generate` has, of 4; a joint header is two."""
    sections = dict(answer["sections"])
    if answer["assessment_and_plan"]:
        sections |= {"assessment": "joint", "plan": "joint"}
    return sum(map(bool, sections.values()))


class Health(BaseModel):
    """Whether the server can write notes now and, if not, the reason."""

    status: str = Field(description="ok, loading, unavailable or stopped")
    reason: str = Field(description="Why the status is not ok; empty if it is.")
    model: str | None = Field(
        description="The base model and the adapter; null until they are loaded."
    )
    n_waiting: int = Field(description="Requests in the queue.")
    max_waiting: int = Field(
        description="The queue's capacity; further requests are refused with 429."
    )
    remark: str = Field(description="What a user must know of the model's training data, or empty.")


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="What was expected and what was received, without its text.")
    request_id: str = Field(description="The request's X-Request-ID, or a generated one.")


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        400: "The body is not JSON in UTF-8.",
        408: "The body did not arrive in time.",
        413: "The dialogue is too long, in bytes, characters or tokens.",
        415: "The content type is not application/json.",
        422: "The dialogue is missing, empty or not a conversation.",
        429: "The queue is full; Retry-After says when to try again.",
        500: "The model failed.",
        503: "No model is available, or it is still loading (see Retry-After).",
    }.items()
}


def create_app(engine: Engine, limits: Limits | None = None, remark: str = "") -> FastAPI:
    """The application; it starts the engine with the server and stops it at shutdown.

    `remark` is shown on the page, as a warning; see `remarks.data_remark`.
    """
    limits = limits or Limits()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        await asyncio.to_thread(engine.stop)

    app = FastAPI(
        title="MediSum",
        version=medisum_utils.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page loads its script from a CDN
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,  # traces and exported logs would include error messages
    )
    _add_refusals(app)
    _add_api(app, engine, limits, remark)
    _add_pages(app)
    known_paths = {*STATIC_FILES, "/docs", "/openapi.json", "/generate", "/health"}
    app.add_middleware(Guard, limits=limits, known_paths=known_paths)
    return app


def _add_api(app: FastAPI, engine: Engine, limits: Limits, remark: str) -> None:
    @app.post(
        "/generate",
        responses=REFUSALS,
        summary="Write the note of a dialogue",
        response_description="The note.",
    )
    async def generate(request: Request, body: DialogueIn) -> NoteOut:
        written = await _result(request, engine.submit(check_dialogue(body.dialogue, limits)))
        sections = split_sections(written.text)
        return NoteOut(
            soap_note=written.text,
            assessment_and_plan=sections.pop(JOINT),
            unknown=sections.pop(UNKNOWN),
            sections=Sections(**sections),
            finished=written.finished,
            model=engine.model_name or "",
        )

    not_ok = {
        503: {"model": Health, "description": "The same record while no note can be written."}
    }

    @app.get(
        "/health",
        responses=not_ok,
        summary="Say whether notes can be written",
        response_description="Notes can be written.",
    )
    async def health(response: Response) -> Health:
        state, reason = engine.state, engine.reason
        response.status_code = 200 if state == OK else 503
        return Health(
            status=state,
            reason=reason,
            model=engine.model_name,
            n_waiting=engine.n_waiting,
            max_waiting=engine.max_waiting,
            remark=remark,
        )


def _add_pages(app: FastAPI) -> None:
    def serve(path: str, file_name: str) -> None:
        @app.get(path, include_in_schema=False)
        async def page() -> FileResponse:
            return FileResponse(STATIC / file_name)

    for path, file_name in STATIC_FILES.items():
        serve(path, file_name)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return refusal_response(request.state.request_id, refusal)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        details = {
            400: "request body: expected JSON, got something else",
            404: "no such page; see /docs",
        }
        detail = details.get(error.status_code, str(error.detail))
        refusal = Refusal(error.status_code, detail, dict(error.headers or {}))
        return refusal_response(request.state.request_id, refusal)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        """FastAPI's default answer echoes the input; this one states only what was expected."""
        return refusal_response(request.state.request_id, _invalid_body(request, error))


def _invalid_body(request: Request, error: RequestValidationError) -> Refusal:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        return Refusal(415, "content type: expected application/json")
    kinds = {problem["type"] for problem in error.errors()}
    if "json_invalid" in kinds:
        return Refusal(400, "request body: expected JSON, got something else")
    if "missing" in kinds:
        return Refusal(422, 'request body: expected {"dialogue": "..."}, got no dialogue')
    return Refusal(422, 'request body: expected {"dialogue": "..."} with a string')


async def _result(request: Request, job: Future[WrittenNote]) -> WrittenNote:
    """Waits for the note; if the client disconnects first, its job leaves the queue."""
    waiting = asyncio.wrap_future(job)
    # The body has been read: only a disconnect can follow.
    disconnect = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({waiting, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise Refusal(CLIENT_GONE, "the client closed the connection")
        return waiting.result()
    finally:
        disconnect.cancel()
        waiting.cancel()  # no effect on a finished note; drops a queued one
