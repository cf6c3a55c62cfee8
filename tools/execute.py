"""Runs a notebook in a kernel of its own and measures what that took."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
DEAD_WIDGET = "Run this cell to get the widget."
PROGRESS_BAR = re.compile(r"\d+%\|")
# Runs last, in the kernel: only there is the peak of the kernel's own memory known.
PROBE = """
import json, os, platform, resource, sys
import jax
device = jax.devices()[0]
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
if os.path.exists("/proc/self/status"):  # ru_maxrss would begin at the size of who started us
    with open("/proc/self/status") as status:
        peak = 1024 * next(int(x.split()[1]) for x in status if x.startswith("VmHWM:"))
else:
    bytes_each = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_each
print(json.dumps({
    "peak_mb": int(round(peak / 1e6, -1)),
    "device": f"{cores} CPU cores" if device.platform == "cpu" else device.device_kind,
    "versions": f"Python {platform.python_version().rpartition('.')[0]}, jax {jax.__version__}",
}))
"""


def run(
    notebook: NotebookNode,
    folder: Path,
    on_cell: Callable[[int], None] | None = None,
    *,
    to_the_end: bool = False,
) -> dict:
    """Execute `notebook` in place with `folder` as its working directory.

    Returns seconds (whole ones, a kernel's start included), peak_mb (resident memory of the
    kernel), device and versions. Raises nbclient's `CellExecutionError` where a cell fails, or
    what a widget calls; with ``to_the_end`` a cell that fails stops nothing.
    """
    notebook.cells.append(new_code_cell(PROBE))
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        allow_errors=to_the_end,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # it warns of the loopback at every start
        on_cell_executed=lambda cell, cell_index, **_: on_cell and on_cell(cell_index),
    )
    started = time.perf_counter()
    try:
        client.execute(env={**os.environ, "EFFTX_PROGRESS": "off"})  # nobody has learned anything
    finally:
        probe = notebook.cells.pop()
    _refuse_failed_widgets(notebook)
    seconds = round(time.perf_counter() - started)
    return {"seconds": seconds, **json.loads(probe.outputs[0].text)}


def _refuse_failed_widgets(notebook: NotebookNode) -> None:
    """An Output widget swallows what its function raises: nbclient finds it in the state alone."""
    widgets = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for widget in widgets.values():
        for output in widget["state"].get("outputs", []):
            if output["output_type"] == "error":
                trace = "\n".join(["In a widget:", *output["traceback"]])
                raise CellExecutionError(trace, output["ename"], output["evalue"])


def tidy(notebook: NotebookNode) -> None:
    """Drop from the outputs what is dead or different at every run."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs for kept in _living(output)]


def _living(output: NotebookNode) -> list[NotebookNode]:
    """A committed widget has no kernel behind it: a sentence stands in for it."""
    data = output.get("data", {})
    if WIDGET not in data:
        return [output]
    if PROGRESS_BAR.search(data.get("text/plain", "")):
        return []
    return [new_output("display_data", data={"text/plain": DEAD_WIDGET})]
