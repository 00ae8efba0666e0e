"""A server on 127.0.0.1 that speaks as Hugging Face's hub does, well or badly."""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1", "refs%2Fpr%2F1", COMMIT)  # all give the same files


class Hub(ThreadingHTTPServer):
    """`files` are by "owner/repository/file". `faults` says what goes wrong with a repository:

    gated, private: it is not given to anybody; lost: the server answers 500; html: a page without the hub's headers;
    broken: the first answer ends after a third of the file; short: so does every other, after nothing more.
    """

    def __init__(self, files: dict[str, bytes], faults: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.faults = files, faults
        self.seen: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _answer(self) -> None:
        self.server.seen[f"{self.command} {self.path}"] += 1
        if listed := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/tree/.*)?", self.path.partition("?")[0]):
            return self._list(listed[1], whole=not listed[2])
        if stored := re.fullmatch("/cdn/(.+)", self.path):
            return self._send(self.server.files[stored[1]], stored[1])
        if asked := re.fullmatch("/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            return (
                self._resolve(asked[1], asked[3]) if asked[2] in REVISIONS else self._say(404, code="RevisionNotFound")
            )
        return self._say(404)

    def _resolve(self, repository: str, file: str) -> None:
        """As the hub does: the headers here, the bytes of a large file elsewhere."""
        fault = self.server.faults.get(repository)
        name = f"{repository}/{file}"
        if fault == "html":
            return self._say(200, b"<html>please log in</html>")
        if fault == "lost":
            return self._say(500)
        if fault == "gated":
            return self._say(403, code="GatedRepo")
        if fault == "private" or not any(each.startswith(f"{repository}/") for each in self.server.files):
            return self._say(401, code="RepoNotFound")
        if name not in self.server.files:
            return self._say(404, code="EntryNotFound")
        content = self.server.files[name]
        linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"'}
        elsewhere = f"http://localhost:{self.server.server_port}/cdn/{name}"
        return self._say(302, location=elsewhere, **linked)

    def _list(self, repository: str, whole: bool) -> None:
        names = [name.removeprefix(f"{repository}/") for name in self.server.files if name.startswith(f"{repository}/")]
        tree = [{"type": "file", "path": name, "size": 1, "oid": COMMIT} for name in names]
        about = {"id": repository, "siblings": [{"rfilename": name} for name in names]}
        self._say(200, json.dumps(about if whole else tree).encode())

    def _send(self, content: bytes, name: str) -> None:
        """The bytes, or those of a range; a broken answer has the length of the whole and fewer bytes."""
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        rest = content[int(start[1]) :] if start else content
        fault = self.server.faults.get("/".join(name.split("/")[:2]))
        asked = self.server.seen[f"GET {self.path}"]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.command == "GET":
            ends_early = fault == "short" or (fault == "broken" and asked == 1)
            self.wfile.write(content[int(start[1]) if start else 0 : len(content) // 3] if ends_early else rest)
            self.close_connection = ends_early

    def _say(self, status: int, body: bytes = b"", code: str = "", location: str = "", **headers: str) -> None:
        self.send_response(status)
        more = {"X-Repo-Commit": COMMIT, "X-Error-Code": code, "Location": location} | headers
        if self.server.faults.get("/".join(self.path.split("/")[1:3])) == "html":
            more = {}
        for key, value in more.items():
            if value:
                self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serving(files: dict[str, bytes], **faults: str) -> Iterator[Hub]:
    """The hub, for as long as the block lasts. A fault is named by its repository, of which the owner is "some"."""
    with Hub(files, {f"some/{name}": fault for name, fault in faults.items()}) as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
