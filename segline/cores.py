"""How many processor cores this process may use."""

import os


def count() -> int:
    """Those that the system lets this process run on, where it can tell; else all of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
