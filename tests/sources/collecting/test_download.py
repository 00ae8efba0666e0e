"""Against a real server on 127.0.0.1 that misbehaves as asked."""

import gzip
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from segline.core.errors import FetchError
from segline.sources.collecting import download

BODY = gzip.compress(bytes(range(256)) * 400, mtime=0)
LIMITS = download.Limits(silence=10.0, deadline=20.0, size=1 << 20, retries=2, pause=0.01)
KEY = "data.camvid.url"
REMEDY = "Check the address and the network, or set data.camvid.url to a local copy of the archive."


class Server(ThreadingHTTPServer):
    """Counts requests; `halfway` is set once half a body is sent, `release` ends a stalled answer."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = []
        self.halfway = threading.Event()
        self.release = threading.Event()
        self.scheme = "http"

    def url(self, path):
        return f"{self.scheme}://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: PLR0912 - one case per answer
        self.server.seen.append(self.path)
        first = self.server.seen.count(self.path) == 1
        match self.path.partition("?")[0].strip("/").split("/"):
            case ["good.tar.gz"]:
                self.send(200, BODY)
            case ["status", code]:
                self.send(int(code), b"no")
            case ["once", code]:
                self.send(int(code) if first else 200, BODY)
            case ["html"]:
                self.send(200, b"<!DOCTYPE html><title>Log in</title>")
            case ["busy"]:
                self.send(503, b"", headers={"Retry-After": "3600"})
            case ["dropped-once"]:
                if not first:
                    self.send(200, BODY)
            case ["empty"]:
                self.send(200, b"")
            case ["cut"]:
                self.send(200, BODY[: len(BODY) // 2], length=len(BODY))
            case ["cut-once"]:
                self.send(200, BODY[: len(BODY) // 2] if first else BODY, length=len(BODY))
            case ["cut-chunks"]:
                self.send(200, None, headers={"Transfer-Encoding": "chunked"})
                self.wfile.write(b"10\r\n" + BODY[:16] + b"\r\n")
            case ["silent"]:
                self.server.release.wait(30)
            case ["stalls"]:
                self.send(200, BODY[: len(BODY) // 2], length=len(BODY))
                self.wfile.flush()
                self.server.halfway.set()
                self.server.release.wait(30)
            case ["drips", code]:
                self.send(int(code), None)
                while not self.server.release.wait(0.05):
                    try:
                        self.wfile.write(b"\x1f")
                    except OSError:
                        break
            case ["to", *parts]:
                self.send(302, b"", headers={"Location": "/" + "/".join(parts)})
            case ["leave", scheme]:
                self.send(302, b"", headers={"Location": f"{scheme}://127.0.0.1/etc/passwd"})
            case ["length", length]:
                self.send(200, BODY, length=length)

    def send(self, status, body, length=None, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if body is not None:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.release.set()
        running.shutdown()
        thread.join()


def get(server, path, cache, limits=LIMITS):
    return download.fetch(server.url(path), KEY, cache, limits)


def refusal(server, path, cache, limits=LIMITS):
    """The problem in the refusal, after a check that nothing was kept."""
    with pytest.raises(FetchError) as caught:
        get(server, path, cache, limits)
    assert (caught.value.where, caught.value.remedy) == (server.url(path), REMEDY)
    assert kept(cache) == []
    return caught.value.problem


def kept(cache):
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_a_url_is_downloaded_whole_under_a_readable_name(server, tmp_path):
    path = get(server, "/good.tar.gz?token=a/b", tmp_path / "new" / "cache")

    assert path.read_bytes() == BODY
    assert path.name.endswith("-good.tar.gz")
    assert path.parent == tmp_path / "new" / "cache"


def test_a_present_file_is_not_asked_for_again(server, tmp_path):
    """The second call makes no request: it works without a network."""
    first = get(server, "/good.tar.gz", tmp_path)
    second = get(server, "/good.tar.gz", tmp_path)

    assert second == first
    assert server.seen == ["/good.tar.gz"]


def test_two_urls_with_one_last_part_do_not_meet(server, tmp_path):
    assert get(server, "/good.tar.gz?1", tmp_path) != get(server, "/good.tar.gz?2", tmp_path)


def test_two_processes_at_once_download_once(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: get(server, "/good.tar.gz", tmp_path), range(4)))

    assert (len(paths), server.seen) == (1, ["/good.tar.gz"])


def test_a_redirect_is_followed(server, tmp_path):
    assert get(server, "/to/good.tar.gz", tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_a_redirect_leads_to_http_only(server, tmp_path, scheme):
    assert "No connection adapters were found" in refusal(server, f"/leave/{scheme}", tmp_path)


@pytest.mark.parametrize(("code", "text"), [(404, "Not Found"), (403, "Forbidden"), (429, "Too Many Requests")])
def test_a_refusal_by_the_server_is_final(server, tmp_path, code, text):
    assert refusal(server, f"/status/{code}", tmp_path) == f"HTTP {code} {text}"
    assert len(server.seen) == 1


def test_a_server_in_trouble_is_asked_again_a_few_times(server, tmp_path):
    assert refusal(server, "/status/503", tmp_path) == "HTTP 503 Service Unavailable"
    assert len(server.seen) == 1 + LIMITS.retries


@pytest.mark.parametrize("path", ["/once/500", "/once/502", "/cut-once", "/dropped-once"])
def test_a_passing_fault_is_survived(server, tmp_path, path):
    assert get(server, path, tmp_path).read_bytes() == BODY
    assert len(server.seen) == 2


@pytest.mark.parametrize("path", ["/cut", "/cut-chunks"])
def test_a_body_shorter_than_announced_is_never_kept(server, tmp_path, path):
    assert refusal(server, path, tmp_path) == "the connection broke before the end of the file"
    assert len(server.seen) == 1 + LIMITS.retries


@pytest.mark.parametrize("path", ["/silent", "/stalls"])
def test_a_stalled_server_is_left_after_the_silence_allowed(server, tmp_path, path):
    """Once: a second try would double the wait."""
    limits = replace(LIMITS, silence=0.5)
    start = time.monotonic()

    assert refusal(server, path, tmp_path, limits) == "no byte for 0.5 s"
    assert time.monotonic() - start < 15
    assert len(server.seen) == 1


def test_a_server_that_drips_is_left_at_the_deadline(server, tmp_path):
    """Each byte restarts a socket's timeout."""
    limits = download.Limits(silence=10.0, deadline=0.7, size=1 << 20, retries=1, pause=0.01)
    start = time.monotonic()

    assert refusal(server, "/drips/200", tmp_path, limits) == "not finished after 0.7 s"
    assert time.monotonic() - start < 9  # sooner than the silence allowed


def test_the_body_of_an_error_is_not_read(server, tmp_path):
    """It might never end, and neither the deadline nor the cap on size would see it."""
    start = time.monotonic()

    assert refusal(server, "/drips/503", tmp_path) == "HTTP 503 Service Unavailable"
    assert time.monotonic() - start < LIMITS.silence
    assert len(server.seen) == 1 + LIMITS.retries


def test_a_server_does_not_say_how_long_to_wait(server, tmp_path):
    """`Retry-After: 3600` would hold the stage for an hour."""
    start = time.monotonic()

    assert refusal(server, "/busy", tmp_path) == "HTTP 503 Service Unavailable"
    assert time.monotonic() - start < LIMITS.silence


def test_a_body_beyond_the_cap_is_not_kept(server, tmp_path):
    assert refusal(server, "/good.tar.gz", tmp_path, download.Limits(size=100)) == "sends more than 100 bytes"


@pytest.mark.parametrize(("path", "start"), [("/html", "b'<!DOCTYPE html>"), ("/empty", "b''")])
def test_what_is_no_archive_is_not_kept(server, tmp_path, path, start):
    assert f"something else than a .tar.gz archive (it starts with {start}" in refusal(server, path, tmp_path)


def test_a_length_that_is_no_number_is_one_error(server, tmp_path):
    assert refusal(server, "/length/many", tmp_path) == "no usable answer ('many')"


def test_nobody_listening_is_one_error(tmp_path):
    url = f"http://127.0.0.1:{free_port()}/x.tar.gz"

    with pytest.raises(FetchError) as caught:
        download.fetch(url, KEY, tmp_path, LIMITS)

    assert str(caught.value) == f"{url}: no usable answer ([Errno 111] Connection refused). {REMEDY}"


def free_port():
    with Server() as server:
        return server.server_port


@pytest.mark.parametrize("url", ["http://", "http://[", "http://a..b/x", "https://:0/"])
def test_a_url_that_is_none_is_one_error(tmp_path, url):
    with pytest.raises(FetchError):
        download.fetch(url, KEY, tmp_path, LIMITS)


@pytest.mark.parametrize("url", ["ftp://host/x.tar.gz", "s3://bucket/x.tar.gz", "://x"])
def test_other_protocols_are_refused(tmp_path, url):
    with pytest.raises(FetchError) as caught:
        download.fetch(url, KEY, tmp_path)

    assert str(caught.value) == f"{url}: expected http://, https://, file:// or a path. {REMEDY}"


@pytest.mark.parametrize("form", ["{}", "file://{}", "~/{name}", "file://localhost{}"])
def test_a_local_file_is_used_where_it_lies(tmp_path, monkeypatch, form):
    path = tmp_path / "my archive.tar.gz"
    path.write_bytes(BODY)
    monkeypatch.setenv("HOME", str(tmp_path))

    fetched = download.fetch(form.format(path, name=path.name).replace("my ", "my%20" if "://" in form else "my "), KEY)

    assert fetched == path


def test_a_home_that_is_not_there_is_one_error():
    with pytest.raises(FetchError, match="there is no file ~nobody-of-that-name/x"):
        download.fetch("~nobody-of-that-name/x.tar.gz", KEY)


def test_a_local_file_that_is_not_there_is_one_error(tmp_path):
    path = tmp_path / "x.tar.gz"

    with pytest.raises(FetchError) as caught:
        download.fetch(str(path), KEY)

    assert str(caught.value) == (
        f"{path}: there is no file {path}. Set data.camvid.url to the archive file or to its URL."
    )


def test_a_folder_is_not_an_archive(tmp_path):
    with pytest.raises(FetchError, match="is not a regular file"):
        download.fetch(str(tmp_path), KEY)


def test_the_cache_folder_can_be_set(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLINE_CACHE", str(tmp_path / "elsewhere"))

    assert download.fetch(server.url("/good.tar.gz"), KEY).parent == tmp_path / "elsewhere"


def test_a_cache_that_cannot_be_written_is_one_error(server, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(FetchError, match="Set SEGLINE_CACHE to a folder that can"):
        get(server, "/good.tar.gz", tmp_path / "file")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_download_stopped_halfway_leaves_no_archive_and_the_next_one_works(server, tmp_path, number):
    """After SIGKILL a hidden partial file stays; the next download of that URL takes its place."""
    call = f"fetch({server.url('/stalls')!r}, 'key', Path({str(tmp_path)!r}))"
    program = f"from segline.sources.collecting.download import *; {call}"
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    assert server.halfway.wait(30)
    process.send_signal(number)
    process.wait()
    server.release.set()

    left = kept(tmp_path)

    assert left == [] if number == signal.SIGINT else all(name.endswith(".partial") for name in left)
    assert refusal(server, "/stalls", tmp_path) == "the connection broke before the end of the file"
    assert get(server, "/good.tar.gz", tmp_path).read_bytes() == BODY


@pytest.fixture
def secure(server, tmp_path_factory):
    """The server behind TLS, with a self-signed certificate in the file `certificate`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([openssl, *request, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.scheme = "https"
    server.certificate = folder / "cert.pem"
    server.handle_error = lambda *_: None  # a client that hangs up on the certificate is the point
    return server


def test_a_certificate_nobody_vouches_for_is_refused(secure, tmp_path):
    assert "self" in refusal(secure, "/good.tar.gz", tmp_path)
    assert secure.seen == []


def test_a_redirect_never_gives_up_encryption(secure, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(secure.certificate))

    assert get(secure, "/to/good.tar.gz", tmp_path / "good").read_bytes() == BODY
    assert refusal(secure, "/leave/http", tmp_path / "bad") == "redirects from https to http"
