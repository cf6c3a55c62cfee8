"""The way of an array from the loss to the attention kernel goes down only: no module twice."""

import importlib
import traceback
from itertools import groupby
from pathlib import Path

import jax
import numpy as np
import pytest

import efftx
from efftx.models import Sizes, local, lsh, reformer, terraformer, transformer
from efftx.training.losses import bits_per_byte

SIZES = Sizes(n_layers=2, d_model=16, d_ff=32, n_heads=2, d_head=8, max_len=40)
WINDOW = np.arange(21)
HOME = Path(efftx.__file__).parent
KERNELS = {  # where the walk ends: the technique that a kind calls
    "full": ("efftx.models.kinds.full_attention", transformer),
    "local": (
        "efftx.models.kinds.local_attention",
        lambda key, sizes: reformer(key, sizes, attention=local(chunk_len=8)),
    ),
    "hashed": (
        "efftx.models.kinds.lsh_attention",
        lambda key, sizes: reformer(key, sizes, attention=lsh(chunk_len=8)),
    ),
    "sparse": (
        "efftx.models.kinds.blocked_attention",
        lambda key, sizes: terraformer(key, sizes, n_units=4),
    ),
    "controller": (
        "efftx.models.sparse_feed_forward.sparsity_mask",
        lambda key, sizes: terraformer(key, sizes, n_units=4),
    ),
}


def modules_on_the_way(kernel: str, make, monkeypatch, *, chunk_len=None) -> list[str]:
    """The modules of the package on the stack when the kernel is called, each stay once."""
    walks, model = [], make(jax.random.key(0), SIZES)
    room, name = kernel.rsplit(".", 1)
    home = importlib.import_module(room)
    technique = getattr(home, name)

    def watched(*arrays, **how):
        frames = [Path(frame.filename) for frame in traceback.extract_stack()]
        ours = [str(path.relative_to(HOME)) for path in frames if path.is_relative_to(HOME)]
        ours = [module for module in ours if module != "precision.py"]  # wraps what stands below it
        walks.append([stay for stay, _ in groupby(ours)])
        return technique(*arrays, **how)

    monkeypatch.setattr(home, name, watched)
    loss = lambda m: bits_per_byte(m, WINDOW, jax.random.key(1), chunk_len=chunk_len)  # noqa: E731
    jax.eval_shape(jax.grad(loss), model)
    return max(walks, key=len)  # the first of several traces may begin below the loss


def entered_twice(walk: list[str]) -> list[str]:
    return sorted({module for module in walk if walk.count(module) > 1})


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_module_is_entered_twice(kernel, monkeypatch):
    walk = modules_on_the_way(*KERNELS[kernel], monkeypatch, chunk_len=8)
    assert entered_twice(walk) == [], walk
    assert walk[0] == "training/losses.py"
    assert len(walk) <= 10


def test_a_return_would_show():
    assert entered_twice(["loss", "model", "heads", "model", "kernel"]) == ["model"]
