"""Readings of this machine for MLflow, all GPUs included. Only `mlflow_worker` imports it."""

import time
from collections.abc import Callable
from typing import Any

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

Message = dict[str, Any]


def sampler(run_id: str, report: Callable[[str], None]) -> Callable[[int], Message]:
    """A function that reads the `system/*` metrics of this machine, all GPUs included, as one message.

    A monitor that fails is reported once and then left out: a faulty driver must not cost the run.
    """
    monitors: list[Any] = SystemMetricsMonitor(run_id).monitors  # type: ignore[no-untyped-call]

    def sample(step: int) -> Message:
        moment = round(time.time() * 1000)
        rows: list[list[Any]] = []
        for monitor in list(monitors):
            try:
                monitor.collect_metrics()
                rows += [[f"system/{key}", value, moment, step] for key, value in monitor.aggregate_metrics().items()]
                monitor.clear_metrics()
            except Exception as error:  # noqa: BLE001 - MLflow's monitors let through whatever a driver or psutil raises
                monitors.remove(monitor)
                report(f"{type(monitor).__name__} fails and is left out: {error}")
        return {"metrics": rows}

    return sample
