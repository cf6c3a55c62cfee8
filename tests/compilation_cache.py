"""Where the tests, and the kernels that they start, keep what XLA has compiled.

Most of the tests' time is compilation. A compiled program is code for one kind of processor and one
release of jaxlib, so each of these has a folder of its own: nothing is ever read where it might not
run. All are below `.cache/`, which git ignores and anybody may delete.
"""

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def processor(cpuinfo: str = "/proc/cpuinfo") -> str:
    """What this machine's processor can do, and not only what it is called."""
    known = [platform.system(), platform.machine(), platform.processor()]
    if os.path.exists(cpuinfo):
        text = Path(cpuinfo).read_text(encoding="utf-8", errors="replace")
        fields = (line.partition(":") for line in text.splitlines())
        wanted = ("model name", "flags", "Features")  # the last is ARM's word for flags
        known += sorted({value for name, _, value in fields if name.strip() in wanted})
    return " ".join(known)


def folder(root: Path = ROOT, **instead: str) -> Path:
    """The cache of this jax, this jaxlib and this processor; ``instead`` takes others."""
    here = {"jax": metadata.version("jax"), "jaxlib": metadata.version("jaxlib")}
    here = {**here, "processor": processor(), **instead}
    features = hashlib.sha256(here["processor"].encode()).hexdigest()[:12]
    return root / ".cache/jax" / f"{here['jax']}-{here['jaxlib']}-{features}"


def settings() -> dict[str, str]:
    """Environment variables of jax. What compiles faster than it is read is not kept."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }


def use() -> None:
    """From now on, in this process and in those it starts; whoever has set them is left alone."""
    for name, value in settings().items():
        os.environ.setdefault(name, value)
