"""Installs this project with the versions of constraints.txt: `python .ci/install.py [EXTRA...]`, in its own .venv.

`python .ci/install.py --into .venv-encoders EXTRA...` makes another environment, from the package index alone.

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


def uv_install(target: str, python: str, settings: dict[str, str]) -> bool:
    """Whether uv could install `target`, such as ".[test]", for that Python."""
    environment = os.environ | ({"SSL_CERT_FILE": settings["cert"]} if "cert" in settings else {})
    command = [sys.executable, "-m", "uv", "pip", "install", "--python", python, *CONSTRAINTS]
    command += [*arguments(settings), *([] if sys.stderr.isatty() else ["--quiet"]), "-e", target]
    return subprocess.run(command, env=environment, check=False).returncode == 0


def install(target: str) -> int:
    """The exit code of the installation of `target` here."""
    if subprocess.run([*PIP, "install", *QUIET, *CONSTRAINTS, "uv"], capture_output=True, check=False).returncode == 0:
        if uv_install(target, sys.executable, configured()):
            return 0
        sys.stderr.write("uv failed (see above); pip takes over\n")
    else:
        sys.stderr.write("uv cannot be had; pip installs instead, which takes longer\n")
    return subprocess.run([*PIP, "install", *QUIET, *CONSTRAINTS, "-e", target], check=False).returncode


def install_into(folder: str, target: str) -> int:
    """The exit code of the installation of `target` in a new environment, without pip's folders of wheels.

    A wheel of torchvision is made for one build of torch: that of the index does not import beside another's CPU build.
    """
    made = subprocess.run(
        [sys.executable, "-m", "uv", "venv", "--clear", "--quiet", "--python", sys.executable, folder], check=False
    )
    settings = {name: value for name, value in configured().items() if name != "find-links"}
    return made.returncode or int(not uv_install(target, f"{folder}/bin/python", settings))


def check_torchvision() -> int:
    """1, with a line that says why, if torchvision is here but does not import beside the torch that is here."""
    if subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False).returncode == 0:
        return 0
    sys.stderr.write(
        "torchvision does not import: its wheel is made for another build of torch. Beside the CPU build of torch take"
        " that of torchvision: UV_TORCH_BACKEND=cpu make setup EXTRAS=encoders\n"
    )
    return 1


def main(arguments: list[str]) -> int:
    folder, extras = (arguments[1], arguments[2:]) if arguments[:1] == ["--into"] else ("", arguments)
    target = f".[{','.join(extras)}]" if extras else "."
    code = install_into(folder, target) if folder else install(target)
    return code or (check_torchvision() if "encoders" in extras and not folder else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
