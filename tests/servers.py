"""Servers on 127.0.0.1 that only pretend to be tracking servers or object stores, and a bad line to a real one."""

import socket
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DOWN, SILENT, BROKEN, LOG_IN = "nobody listens", "silence", "error 500", "a page of HTML"


class _Broken(BaseHTTPRequestHandler):
    status = 500

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"<html>please log in</html>")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class _LogIn(_Broken):
    status = 200


@contextmanager
def outage(kind: str) -> Iterator[str]:
    """`host:port` of a server that is away in this way for as long as the block lasts."""
    if kind in (DOWN, SILENT):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))  # nobody else gets the port, and a connection is refused
            if kind == SILENT:
                listener.listen()  # connections are accepted, and never answered
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), {BROKEN: _Broken, LOG_IN: _LogIn}[kind]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Relay(socketserver.BaseRequestHandler):
    """Passes one connection on, both ways."""

    server: "_BadLine"

    def handle(self) -> None:
        left = self.server.limits.pop() if self.server.limits else 1 << 62
        with socket.create_connection(("127.0.0.1", self.server.target)) as target, suppress(OSError):
            threading.Thread(target=self._ask, args=[target], daemon=True).start()
            while left and (answer := target.recv(min(left, 1 << 16))):
                self.request.sendall(answer)
                left -= len(answer)
            if not left and self.server.holds:
                self.server.closing.wait()

    def _ask(self, target: socket.socket) -> None:
        with suppress(OSError):
            while question := self.request.recv(1 << 16):
                target.sendall(question)
            target.shutdown(socket.SHUT_RDWR)


class _BadLine(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, target: int, limits: Sequence[int], *, holds: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.target, self.limits, self.holds = target, [*limits], holds
        self.closing = threading.Event()


@contextmanager
def bad_line(target: int, limits: Sequence[int], *, holds: bool = False) -> Iterator[int]:
    """A port that leads to another. Of the first connections each breaks off after so many bytes of answers, or with
    `holds` falls silent."""
    with _BadLine(target, limits, holds=holds) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
