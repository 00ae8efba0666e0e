"""A Ray cluster on this machine: two nodes of one core each, bound to 127.0.0.1, in a process of its own.

`python -m tests.cluster.nodes` prints its address. Then it reads commands, one a line: `kill` ends the second node as a
power cut would, `add` brings a new one, `strange` one of another kind of CPU. It ends with its standard input.
"""

import sys

import ray.dashboard.agent  # noqa: F401 - a node waits 15 s for its agent, which an import from sources may take
from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 << 20}
STRANGE = {"ATEN_CPU_CAPABILITY": "default"}  # torch then says DEFAULT instead of AVX2 or AVX512


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    others = [cluster.add_node(**NODE)]
    say(cluster.address)
    for line in sys.stdin:
        match line.strip():
            case "kill":
                cluster.remove_node(others.pop(), allow_graceful=False)
            case "add":
                others.append(cluster.add_node(**NODE))
            case "strange":
                others.append(cluster.add_node(**NODE, env_vars=STRANGE))
            case other:
                raise ValueError(other)
        say("done")
    cluster.shutdown()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
