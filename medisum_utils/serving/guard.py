"""The ASGI layer around the app: request ids, body limits, logs without text or traceback."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medisum_utils.serving.checks import Limits, Refusal, describe

log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
CLIENT_GONE = 499  # nginx's status for a client that closed the connection; it is only logged
_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DRAINED_BYTES = 8_388_608  # read and discarded, so that the client receives the response
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def refusal_response(request_id: str, refusal: Refusal) -> Response:
    """The JSON answer `{"detail", "request_id"}` of a refusal."""
    content = {"detail": refusal.detail, "request_id": request_id}
    return JSONResponse(content, refusal.status, refusal.headers)


class Guard:
    """Wraps an app; only `known_paths` appear in the log."""

    def __init__(self, app: ASGIApp, limits: Limits, known_paths: Iterable[str]) -> None:
        self.app, self.limits, self.known_paths = app, limits, frozenset(known_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; other kinds of connection pass through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS | {REQUEST_ID: request_id})
            await send(message)

        try:
            body = await _read_body(scope, receive, self.limits)
            await self.app(scope, _replay(body, receive), send_with_headers)
        except Refusal as refusal:
            response = refusal_response(request_id, refusal)
            await response(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001  uvicorn would log its message
            log.error("request %s failed: %s", request_id, describe(error))
            if status is None:
                failure = Refusal(500, "the note could not be written; the server's log says where")
                await refusal_response(request_id, failure)(scope, receive, send_with_headers)
        finally:
            path = scope["path"] if scope["path"] in self.known_paths else "(other path)"
            seconds = time.perf_counter() - started
            log.info("%s %s %s %.3f s, id %s", scope["method"], path, status, seconds, request_id)


def _request_id(scope: Scope) -> str:
    """The client's id if it is plain, so that no text gets into the log; otherwise a new one."""
    request_id = Headers(scope=scope).get(REQUEST_ID, "")
    return request_id if _PLAIN_ID.fullmatch(request_id) else uuid.uuid4().hex


async def _read_body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    """The whole body of a request.

    Raises: Refusal 413 above `max_body_bytes`, 408 if it takes longer than `body_timeout_s`,
    400 if it is not UTF-8 or the client disconnects before sending all of it.
    """
    declared = Headers(scope=scope).get("content-length", "0")
    n_declared = int(declared) if declared.isascii() and declared.isdigit() else 0
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            body, n_bytes = await _receive_body(receive, n_declared, limits.max_body_bytes)
    except TimeoutError:
        detail = f"request body: expected it whole within {limits.body_timeout_s:g} s"
        raise Refusal(408, detail, {"connection": "close"}) from None
    if max(n_bytes, n_declared) > limits.max_body_bytes:
        detail = f"request body: expected at most {limits.max_body_bytes} bytes, got more"
        raise Refusal(413, detail, {"connection": "close"})
    try:
        body.decode()
    except UnicodeDecodeError:
        raise Refusal(400, "request body: expected UTF-8, got other bytes") from None
    return body


async def _receive_body(receive: Receive, n_declared: int, limit: int) -> tuple[bytes, int]:
    """Keeps at most `limit` bytes and counts all of them until it stops draining."""
    kept = bytearray()
    n_bytes, more = 0, n_declared <= _DRAINED_BYTES
    while more and n_bytes <= _DRAINED_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "request body: the client disconnected before sending all of it")
        chunk = message.get("body", b"")
        n_bytes += len(chunk)
        if n_bytes <= limit:
            kept += chunk
        more = message.get("more_body", False)
    return bytes(kept), n_bytes


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that replays the body, then passes on what follows, such as a disconnect."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed
