"""The nodes of a Ray cluster that can run a task: what a task takes, and that they are of one kind."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from segline.core.errors import DeviceError

ADDRESS = "RAY_ADDRESS"
THREADS = "OMP_NUM_THREADS"
PARENT = "SEGLINE_PARENT"  # id of the process that one must not outlive, see `monitoring.process`
FAULT = "fault: "
KIND = {"num_cpus": "CPU", "num_gpus": "GPU"}  # Ray's names of resources, by those of its options
ANSWERS = 180.0  # seconds; the import of torch takes most of them on a busy machine


def resources(ray: Any, variables: Mapping[str, str]) -> dict[str, int]:
    """What one task takes: a GPU if the cluster has any, and the cores of its threads."""
    needs = {"num_cpus": int(variables[THREADS])}
    wants_gpu = variables.get("SEGLINE_DEVICE") != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1
    return needs | ({"num_gpus": 1} if wants_gpu else {})


def require_alike(ray: Any, needs: dict[str, int], variables: dict[str, str]) -> None:
    """Raises DeviceError that names two nodes unless all that can run a task see the folder and are of one kind."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    nodes = [
        node
        for node in ray.nodes()
        if node["Alive"] and all(node["Resources"].get(KIND[name], 0) >= count for name, count in needs.items())
    ]
    if not nodes:
        raise DeviceError(ADDRESS, f"no node has what one task needs ({needs})", f"See `ray status`, and {THREADS}.")
    probe = ray.remote(machine)
    there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    free = needs | {"num_cpus": 0}  # a node whose cores all work for others answers too
    asked = [probe.options(scheduling_strategy=place, **free).remote(str(Path.cwd()), variables) for place in there]
    names = [f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})" for node in nodes]
    end = time.monotonic() + ANSWERS
    answers = [_answer(ray, name, each.future(), end) for name, each in zip(names, asked, strict=True)]
    answered = [(name, found) for name, found in zip(names, answers, strict=True) if found is not None]
    if not answered:
        raise DeviceError(ADDRESS, "no node answers", "See `ray status`, and run again.")
    first, expected = answered[0]
    for name, found in answered:
        if found.startswith(FAULT):
            problem, remedy = f"{name}: {found.removeprefix(FAULT)}", "Nodes see the project and its Python as you do."
            raise DeviceError(ADDRESS, problem, remedy)
        if found != expected:
            differs = f"{first} has {', '.join(_only(expected, found))}; {name} has {', '.join(_only(found, expected))}"
            remedy = "A model's bytes depend on it: use nodes of one kind, and set OMP_NUM_THREADS."
            raise DeviceError(ADDRESS, f"two nodes differ: {differs}", remedy)


def _answer(ray: Any, name: str, asked: Future[str], end: float) -> str | None:
    """None from a node that has died, of which Ray may learn only now. No task is placed there."""
    try:
        return asked.result(max(end - time.monotonic(), 0.0))  # not `ray.get`, see `cluster`
    except ray.exceptions.RayError:
        return None
    except TimeoutError:
        problem = f"{name} does not answer within {ANSWERS:g} s"
        raise DeviceError(ADDRESS, problem, "See `ray status`, and run again.") from None


def _only(facts: str, others: str) -> list[str]:
    """The lines of `facts` that `others` lacks."""
    return [line for line in facts.splitlines() if line not in others.splitlines()] or ["nothing of it"]


def machine(folder: str, variables: dict[str, str]) -> str:
    """What `segline machine` says in the folder of the project, on the node where this runs."""
    if not Path(folder).is_dir():
        return f"{FAULT}there is no folder {folder}"
    command = [sys.executable, "-m", "segline", "machine"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"{FAULT}`segline machine` fails ({(done.stderr.strip().splitlines() or ['it says nothing'])[-1]})"
    return done.stdout
