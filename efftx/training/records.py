"""What has to stand beside a measured number for it to mean something later; a process's memory."""

import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
from scipy.special import stdtrit

from efftx.validation import require

PACKAGES = ("jax", "jaxlib", "numpy", "optax")


def environment() -> dict:
    """The machine and the versions, for a results file; it names no host, user or folder."""
    return {
        "machine": {
            "processor": processor(),
            "cores": usable_cores(),
            "system": f"{platform.system()} {platform.machine()}",
            "device": jax.devices()[0].device_kind,
        },
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }


def processor() -> str:
    """The processor's name where Linux tells it, else what the platform module knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def usable_cores() -> int:
    """Those that this process may run on, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def peak_rss_gib() -> float:
    """The most memory that this process has had so far (Linux and macOS)."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where ru_maxrss begins at the size of who started the process
        lines = status.read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM:")) / 2**20
    import resource  # Windows has none

    bytes_each = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_each / 2**30


def mean_with_interval(values: Iterable[float | int], digits: int) -> dict:
    """The mean of what several seeds gave, and its 95 % interval by Student's t, rounded.

    For a difference between two kinds of run, pass the differences seed by seed: what a seed does
    to both is then no part of the interval. Raises ValueError for fewer than two values.
    """
    values = np.array(list(values), float)
    require(len(values) >= 2, f"an interval needs at least two values; got {len(values)}.")
    mean, error = values.mean(), values.std(ddof=1) / len(values) ** 0.5
    reach = stdtrit(len(values) - 1, 0.975) * error
    ends = [round(float(end), digits) for end in (mean - reach, mean + reach)]
    return {"mean": round(float(mean), digits), "interval_95": ends}
