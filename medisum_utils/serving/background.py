"""A server inside a running notebook or test: uvicorn in a thread, on a free port."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn
from fastapi import FastAPI


class BackgroundServer:
    """Serves an app until `stop` or the end of a `with` block; `url` is its address.

    `port=0` picks a free one. The thread ends with the process, even if requests are open.

    Raises: OSError if the port is in use.
    """

    def __init__(self, app: FastAPI, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = socket.create_server((host, port))
        self.host, self.port = host, self._socket.getsockname()[1]
        self.url = f"http://{self.host}:{self.port}"
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=60, lifespan="on"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="medisum-server", daemon=True
        )

    def start(self, timeout_s: float = 30.0) -> BackgroundServer:
        """Returns once the server accepts connections (the model may still be loading).

        Raises: RuntimeError if the server ended during startup, TimeoutError after `timeout_s`.
        """
        self._thread.start()
        deadline = time.monotonic() + timeout_s
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the server ended while it was starting; its log says why")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server has not started after {timeout_s} s")
            time.sleep(0.01)
        return self

    def stop(self, timeout_s: float = 90.0) -> None:
        """Finishes the open requests, ends the server and frees the port.

        Raises: TimeoutError after `timeout_s`.
        """
        self._server.should_exit = True
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the server is still running after {timeout_s} s")
        self._socket.close()

    def __enter__(self) -> BackgroundServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
