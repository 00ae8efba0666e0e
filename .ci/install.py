"""Installs this project with the versions of constraints.txt: `python .ci/install.py [EXTRA...]`, in its own .venv.

uv needs a fraction of pip's time and is itself installed into the .venv first; pip takes over if it cannot be had or
fails. uv does not read pip's configuration, so the places where pip looks for packages are passed on: a folder of
wheels may hold the CPU build of torch, which is 3 GB smaller than the one on the package index.
"""

import ast
import os
import subprocess
import sys

PIP = [sys.executable, "-m", "pip"]
QUIET = ["--quiet", "--disable-pip-version-check"]
CONSTRAINTS = ["-c", "constraints.txt"]


def configured() -> dict[str, str]:
    """pip's settings by their short names, such as "find-links"; those of the environment come last and win."""
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False).stdout
    pairs = [line.split("=", 1) for line in listed.splitlines() if "=" in line]
    ordered = sorted(pairs, key=lambda pair: pair[0].startswith(":env:"))
    return {name.rpartition(".")[2]: ast.literal_eval(value) for name, value in ordered}


def arguments(settings: dict[str, str]) -> list[str]:
    """How uv is told to look where pip would, and to prefer the newest version that fits, wherever it is."""
    found = ["--no-index"] if settings.get("no-index", "").lower() in ("1", "true", "yes", "on") else []
    found += [f"--find-links={place}" for place in settings.get("find-links", "").split()]
    found += [f"--index={place}" for place in settings.get("extra-index-url", "").split()]
    found += [f"--default-index={place}" for place in settings.get("index-url", "").split()]
    return [*found, "--index-strategy=unsafe-best-match"]


def install(target: str) -> int:
    """The exit code of the installation of `target`, such as ".[test]"."""
    if subprocess.run([*PIP, "install", *QUIET, *CONSTRAINTS, "uv"], capture_output=True, check=False).returncode == 0:
        settings = configured()
        environment = os.environ | ({"SSL_CERT_FILE": settings["cert"]} if "cert" in settings else {})
        command = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, *CONSTRAINTS]
        command += [*arguments(settings), *([] if sys.stderr.isatty() else ["--quiet"]), "-e", target]
        if subprocess.run(command, env=environment, check=False).returncode == 0:
            return 0
        sys.stderr.write("uv failed (see above); pip takes over\n")
    else:
        sys.stderr.write("uv cannot be had; pip installs instead, which takes longer\n")
    return subprocess.run([*PIP, "install", *QUIET, *CONSTRAINTS, "-e", target], check=False).returncode


if __name__ == "__main__":
    extras = ",".join(sys.argv[1:])
    sys.exit(install(f".[{extras}]" if extras else "."))
