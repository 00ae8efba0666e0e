"""docs/serving.md, command by command: a model is trained, registered, promoted, served and asked over HTTP."""

import base64
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import cv2
import numpy as np
import onnxruntime
import pytest

from segline.preprocessing.image_files import png
from tests.contract.closure import ROOT
from tests.e2e.project import Project

pytestmark = pytest.mark.slow

START_SECONDS = 300  # on a busy machine; alone it takes about ten


def commands(title: str) -> list[str]:
    """The lines of the code block below a heading, without comments."""
    text = (ROOT / "docs/serving.md").read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.split("  #")[0].strip() for line in block.splitlines()]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def register(project: Project) -> list[str]:
    """What each command says."""
    said = []
    for command in commands("Export, register, promote"):
        if command == "make repro":
            said.append(project.dvc("repro", SEGLINE_TRACKING="on"))
        elif not command.startswith("make"):
            said.append(project.run(*shlex.split(command)))
    return said


@contextmanager
def served(project: Project, port: int) -> Iterator[str]:
    """The address of the server as long as the block lasts."""
    setting, command = commands("Start the server")
    name, _, value = setting.removeprefix("export ").partition("=")
    words = shlex.split(command.replace("5001", str(port)))
    with (project.root / "server.txt").open("wb") as log:
        environment = {**project.environment, name: value}
        server = subprocess.Popen(
            words, cwd=project.root, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", server, project.root / "server.txt")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text(encoding="utf-8", errors="replace"))


def ask(address: str, *contents: bytes) -> Any:
    rows = [{"image": base64.b64encode(content).decode()} for content in contents]
    body = json.dumps({"dataframe_records": rows}).encode()
    with urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.load(answer)["predictions"]


def in_process(project: Project, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(project.root / "model.onnx", providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["classes"], {"image": image})[0])


def predicted(project: Project, folder: Path) -> dict[str, np.ndarray]:
    """The classes of `segline predict`, by the names of the images."""
    out = project.root / "predicted"
    project.run("segline", "predict", str(folder), "--model", "models/model.safetensors", "--out", str(out))
    return {path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((out / "masks").glob("*.png"))}


def test_from_set_up_to_curl(fresh):
    said = register(fresh)
    assert "export: streets version 1\n" in said[1]
    assert "promote: streets@champion is version 1 now, the first" in said[2]
    folder = fresh.root / "data/raw/test/images"
    paths = sorted(folder.iterdir())
    images = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in paths]
    other = cv2.resize(images[0], (75, 131))
    (fresh.root / "photo.png").write_bytes(paths[0].read_bytes())
    names = [label["name"] for label in json.loads(fresh.read("data/raw/dataset.json"))["classes"]]

    port = free_port()
    with served(fresh, port) as address:
        answer = ask(address, *(path.read_bytes() for path in paths), png.encoded(other))
        shown = [fresh.run("bash", "-c", line.replace("5001", str(port))) for line in commands("Ask it")]
        with pytest.raises(HTTPError) as refused:
            ask(address, b"no picture")
        complaint = json.loads(refused.value.read())["message"]

    assert names == answer["names"]
    classes = [np.array(one, np.uint8) for one in answer["classes"]]
    for image, one in zip([*images, other], classes, strict=True):
        assert np.array_equal(in_process(fresh, image), one)
    curled = json.loads(fresh.read("answer.json"))["predictions"]
    assert {"names": names, "classes": [classes[0].tolist()]} == curled
    assert f"{names}\n" == shown[-1]
    assert 400 == refused.value.code
    assert "image: neither a PNG, a JPEG nor a NumPy file that can be read" in complaint
    alike = [one == mask for one, mask in zip(classes, predicted(fresh, folder).values(), strict=False)]
    assert len(alike) == len(paths)
    assert np.mean(alike) >= 0.999
