"""What was compiled before is as good as new: the same numbers and bytes, and no word of it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax

from tests import compilation_cache

# Compiles a gradient, or finds it compiled; says how often it was found and what came of it.
PROGRAM = """
import json, jax, jax.numpy as jnp
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
loss = jax.jit(jax.grad(lambda x: (jax.nn.softmax(x @ x.T) @ x).sum()))
x = jnp.arange(48.0).reshape(16, 3) / 48
compiled = loss.lower(x).compile()
planned = compiled.memory_analysis()
print(json.dumps({
    "found": found.count("/jax/compilation_cache/cache_hits"),
    "bytes": [planned.temp_size_in_bytes, planned.argument_size_in_bytes,
              planned.output_size_in_bytes, planned.alias_size_in_bytes],
    "flops": compiled.cost_analysis()["flops"],
    "text": len(compiled.as_text()),
    "gradient": compiled(x).tolist(),
}))
"""


def run(cache: Path, *flags: str) -> tuple[dict, str]:
    own = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    python = [sys.executable, *flags, "-c", PROGRAM]
    ran = subprocess.run(python, env={**os.environ, **own}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), ran.stderr


def test_what_is_found_compiled_is_what_would_be_compiled(tmp_path):
    """Numbers, and all that tests ask of a compiled program; XLA says nothing of it either."""
    fresh, quiet = run(tmp_path, "-W", "error")
    again, still_quiet = run(tmp_path, "-W", "error")
    assert (quiet, still_quiet) == ("", "")
    assert fresh.pop("found") == 0
    assert again.pop("found") > 0
    assert again == fresh


def test_what_was_cut_off_while_it_was_written_is_compiled_again(tmp_path):
    """jax writes in place, so a test run that is stopped may leave half a file."""
    fresh, _ = run(tmp_path)
    for entry in tmp_path.glob("*-cache"):
        entry.write_bytes(entry.read_bytes()[:-20])
    again, said = run(tmp_path)
    assert again == fresh
    # pyproject.toml has pytest ignore this warning, for which alone nothing need fail.
    assert "UserWarning: Error reading persistent compilation cache entry" in said


def test_nothing_is_found_that_another_jax_or_processor_compiled():
    here = compilation_cache.folder()
    others = [compilation_cache.folder(**{part: "0.1"}) for part in ("jax", "jaxlib", "processor")]
    assert len({here, *others}) == 4
    assert here == compilation_cache.folder()


def test_a_processor_is_known_by_what_it_can_do(tmp_path):
    files = {"a": "model name : X\nflags : sse avx2\n", "b": "model name : X\nflags : sse\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    one, other, none = (compilation_cache.processor(str(tmp_path / name)) for name in "abc")
    assert len({one, other, none}) == 3


def test_it_is_used_here_and_by_the_kernels_that_are_started_from_here():
    assert jax.config.jax_compilation_cache_dir == os.environ["JAX_COMPILATION_CACHE_DIR"]


def test_git_ignores_it():
    ignored = (compilation_cache.ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ".cache/" in ignored
    assert re.fullmatch(r"\.cache/jax/[\w.+-]+", str(compilation_cache.folder(Path())))
