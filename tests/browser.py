"""Headless Chromium, driven through the W3C WebDriver interface of chromedriver, with the standard library only."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

PHONE, DESK = (360, 740), (1280, 900)


class Browser:
    """One session of Chromium."""

    def __init__(self, port: int, profile: Path) -> None:
        self.server = f"http://127.0.0.1:{port}"
        arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            f"--user-data-dir={profile}",
        ]
        options = {"args": arguments, "binary": shutil.which("chromium")}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{session['sessionId']}"

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.server + path, content, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._call("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, page: Path, size: tuple[int, int] = DESK, scheme: str = "light") -> None:
        """Shows a report and waits for its viewer."""
        width, height = size
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=size == PHONE
        )
        media = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}  # clicks miss what still scrolls
        features = [{"name": name, "value": value} for name, value in media.items()]
        self.devtools("Emulation.setEmulatedMedia", features=features)
        self.visit(page)
        self.wait("document.getElementById('canvas').getAttribute('aria-label') !== 'Loading'")

    def visit(self, page: Path) -> None:
        """Shows a page; everything it requests has loaded or failed to."""
        self._call("POST", f"{self.session}/url", {"url": page.absolute().as_uri()})

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self._call("POST", f"{self.session}/execute/sync", {"script": f"return ({script})", "args": []})

    def wait(self, condition: str) -> None:
        deadline = time.monotonic() + 60
        while not self.run(condition):
            assert time.monotonic() < deadline, f"never true: {condition}"

    def text(self, selector: str) -> str:
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText").replace("\N{NO-BREAK SPACE}", " ")

    def click(self, selector: str) -> None:
        element = self._call("POST", f"{self.session}/element", {"using": "css selector", "value": selector})
        self._call("POST", f"{self.session}/element/{next(iter(element.values()))}/click", {})

    def keys(self, selector: str, text: str) -> None:
        """Types into an element that can have the focus."""
        element = self._call("POST", f"{self.session}/element", {"using": "css selector", "value": selector})
        self._call("POST", f"{self.session}/element/{next(iter(element.values()))}/value", {"text": text})

    def slide(self, name: str, value: float) -> None:
        self.run(
            f"(s => {{ s.value = '{value}'; s.dispatchEvent(new Event('input')) }})(document.getElementById('{name}'))"
        )

    def canvas(self) -> Any:
        """The pixels of the canvas: uint8 (H, W, 3)."""
        address = self.run("document.getElementById('canvas').toDataURL('image/png')")
        return decoded(address.split(",")[1])

    def screenshot(self) -> Any:
        """What the window shows: uint8 (height, width, 3)."""
        return decoded(self._call("GET", f"{self.session}/screenshot"))

    def log(self, kind: str) -> Any:
        return self._call("POST", f"{self.session}/se/log", {"type": kind})

    def close(self) -> None:
        self._call("DELETE", self.session)


def decoded(text: str) -> Any:
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def missing() -> str | None:
    """What to install, or None."""
    there = shutil.which("chromium") and shutil.which("chromedriver")
    return None if there else "needs Chromium: apt-get install chromium chromium-driver"


@contextmanager
def running(profile: Path) -> Iterator[Browser]:
    """A browser that stores its data in `profile`; it is closed when the block ends."""
    server = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        while not (started := re.search(r"started successfully on port (\d+)", line := server.stdout.readline())):
            assert line, "chromedriver did not start"
        session = Browser(int(started[1]), profile)
        try:
            yield session
        finally:
            session.close()
    finally:
        server.terminate()
        server.communicate()
