"""Servers on 127.0.0.1 that only pretend to be tracking servers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
