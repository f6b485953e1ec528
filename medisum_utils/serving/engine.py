"""One worker thread that owns the model, fed by a bounded queue in micro-batches.

Requests that arrive while a batch is written form the next one. A request whose client has
disconnected is dropped from the queue. A full queue or a model that is not loaded is an error.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from medisum_utils.modelling.generation import WrittenNote
from medisum_utils.serving.checks import Refusal, Writer, describe

log = logging.getLogger(__name__)

LOADING, OK, UNAVAILABLE, STOPPED = "loading", "ok", "unavailable", "stopped"


@dataclass(slots=True)
class _Job:
    dialogue: str
    future: Future[WrittenNote] = field(default_factory=Future)


class Engine:
    """Loads a writer in its own thread and writes the notes of the requests in its queue.

    `load` is called once, in that thread, by `start`. `max_waiting` limits the queue and
    `max_batch` the batch; `gather_s` is how long a batch that is not full waits for more requests.
    """

    def __init__(
        self,
        load: Callable[[], Writer],
        *,
        max_waiting: int = 32,
        max_batch: int = 8,
        gather_s: float = 0.02,
    ) -> None:
        if max_waiting < 1 or max_batch < 1:
            raise ValueError(
                f"expected max_waiting and max_batch from 1, got {max_waiting} and {max_batch}"
            )
        self._load = load
        self.max_waiting, self.max_batch, self.gather_s = max_waiting, max_batch, gather_s
        self.state, self.reason = LOADING, "the model is being loaded"
        self.model_name: str | None = None
        self._writer: Writer | None = None
        self._batch_s = 5.0  # a guess until the first batch has been timed
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="medisum-engine", daemon=True)

    def start(self) -> None:
        """Starts the thread, which loads the model and then serves the queue."""
        self._thread.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Refuses queued requests and ends the thread after the current batch.

        Raises: TimeoutError if that batch takes longer than `timeout_s`.
        """
        with self._changed:
            self.state, self.reason = STOPPED, "the server is stopping"
            self._refuse_waiting()
            self._changed.notify_all()
        if self._thread.ident is None:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the engine is still writing after {timeout_s} s")

    def wait_until_loaded(self, timeout_s: float) -> None:
        """Returns once the model is loaded.

        Raises: Refusal 503 if it could not be loaded, TimeoutError after `timeout_s`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.state != LOADING, timeout_s):
                raise TimeoutError(f"the model is not loaded after {timeout_s} s")
            self.require_ready()

    def require_ready(self) -> Writer:
        """The loaded writer.

        Raises: Refusal 503 if there is none.
        """
        with self._changed:
            if self.state != OK or self._writer is None:
                raise self._not_ready()
            return self._writer

    def _not_ready(self) -> Refusal:
        headers = {"retry-after": "5"} if self.state == LOADING else {}
        return Refusal(503, f"{self.state}: {self.reason}", headers)

    @property
    def n_waiting(self) -> int:
        """The number of queued requests whose clients are still connected."""
        with self._changed:
            return self._drop_cancelled()

    def submit(self, dialogue: str) -> Future[WrittenNote]:
        """Queues a dialogue; cancelling the future removes it while it is queued.

        Raises: Refusal 503 without a model, 413 for a prompt that leaves too few of the model's
        positions for the note, 429 for a full queue. The future raises what the model raised, or
        Refusal 503 if the server stopped first.
        """
        writer = self.require_ready()
        n_tokens, limit = writer.count_tokens(dialogue), writer.max_prompt_tokens
        if n_tokens > limit:
            raise Refusal(413, f"dialogue: expected at most {limit} prompt tokens, got {n_tokens}")
        with self._changed:
            self.require_ready()
            n_waiting = self._drop_cancelled()
            if n_waiting >= self.max_waiting:
                retry_after_s = math.ceil(math.ceil(n_waiting / self.max_batch) * self._batch_s)
                raise Refusal(
                    429,
                    f"{n_waiting} requests are waiting, which is the limit",
                    {"retry-after": str(min(600, max(1, retry_after_s)))},
                )
            job = _Job(dialogue)
            self._waiting.append(job)
            self._changed.notify_all()
            return job.future

    def _drop_cancelled(self) -> int:
        self._waiting = deque(job for job in self._waiting if not job.future.cancelled())
        return len(self._waiting)

    def _refuse_waiting(self) -> None:
        while self._waiting:
            job = self._waiting.popleft()
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(self._not_ready())

    def _run(self) -> None:
        try:
            self._load_writer()
            while (batch := self._next_batch()) is not None:
                self._write(batch)
        except BaseException as error:  # the thread ends: the queued requests must not wait for it
            self._set_state(UNAVAILABLE, f"the engine stopped: {type(error).__name__}")
            raise
        finally:
            self._writer = None  # frees the model's memory

    def _load_writer(self) -> None:
        started = time.perf_counter()
        try:
            self._writer = self._load()
        except (OSError, ValueError, MemoryError) as error:
            # Our messages say what to do, and cannot quote a dialogue: none has been read yet.
            log.error("no model: %s", error)
            self._set_state(UNAVAILABLE, f"no model: {error}")
        except Exception as error:  # noqa: BLE001  /health reports it, and the server stays up
            log.error("loading failed: %s", describe(error))
            self._set_state(UNAVAILABLE, f"no model: {type(error).__name__} while loading it")
        else:
            self.model_name = self._writer.name
            self._set_state(OK, "")
            log.info("loaded %s in %.1f s", self.model_name, time.perf_counter() - started)

    def _set_state(self, state: str, reason: str) -> None:
        with self._changed:
            if self.state != STOPPED:
                self.state, self.reason = state, reason
            if self.state != OK:
                self._refuse_waiting()
            self._changed.notify_all()

    def _next_batch(self) -> list[_Job] | None:
        """Waits for requests; None once the engine has stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.state != OK)
            self._changed.wait_for(
                lambda: len(self._waiting) >= self.max_batch or self.state != OK, self.gather_s
            )
            if self.state != OK:
                return None
            n = min(self.max_batch, len(self._waiting))
            return [self._waiting.popleft() for _ in range(n)]

    def _write(self, batch: list[_Job]) -> None:
        present = [job for job in batch if job.future.set_running_or_notify_cancel()]
        if not present:
            return
        started = time.perf_counter()
        try:
            notes = self._writer.write([job.dialogue for job in present])
            pairs = list(zip(present, notes, strict=True))
        except BaseException as error:
            log.error("writing %d notes failed: %s", len(present), describe(error))
            for job in present:
                job.future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        self._batch_s = time.perf_counter() - started
        for job, note in pairs:
            job.future.set_result(note)
