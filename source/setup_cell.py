# Set-up: use the clone that this notebook sits in, or else install efftx from its repository.
import importlib.util
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

repository = ""  # owner/name on GitHub; `make badges` writes it
parts = [name for name in ("jax", "jaxlib", "numpy") if importlib.util.find_spec(name)]
if "jax" not in parts:
    raise RuntimeError("There is no jax here: run `%pip install jax`, then this cell again.")
if tuple(int(n) for n in metadata.version("jax").split(".")[:2]) < (0, 10):
    raise RuntimeError("This jax is older than 0.10: run `%pip install -U jax` and restart.")

here = Path.cwd()
homes = ("efftx/__init__.py", "source/course.toml")
clones = [d for d in (here, *here.parents) if all((d / home).exists() for home in homes)]
if clones:
    sys.path.insert(0, str(clones[0]))
elif not importlib.util.find_spec("efftx"):
    if not repository:
        raise RuntimeError("Open this notebook inside a clone, or `%pip install` efftx's folder.")
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")  # an installed jax or numpy is never replaced
        pins.write_text("".join(f"{name}=={metadata.version(name)}\n" for name in parts))
        address = f"efftx[course] @ https://github.com/{repository}/archive/HEAD.zip"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(pins), address]
        pip = subprocess.run(command, capture_output=True, text=True)
    if pip.returncode:
        raise RuntimeError(f"Installing efftx failed (on Kaggle, switch Internet on): {pip.stderr}")
    importlib.invalidate_caches()

import jax

from efftx.notebook import keep_small

# Proofs need every digit: GPUs and TPUs would round the factors of a product to a few.
jax.config.update("jax_default_matmul_precision", "highest")
print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
keep_small()  # a free Binder has 1 GB: before it is full, what was compiled is forgotten
