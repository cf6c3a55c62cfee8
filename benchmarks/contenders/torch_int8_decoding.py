"""The matrices of a dense decoder in torch's weight-only eight bits; lives where there is no jax.

`_weight_int8pack_mm` is what torchao and gpt-fast call on a CPU: codes of eight bits, one scale for
each row of the matrix, activations in bfloat16. Norms, the softmax and the cache are left out, so a
whole decoder would be a little slower.
"""

from collections.abc import Callable

import torch

SEED = 0
LARGEST_ERROR = 0.03  # relative, of a product against float32


class Product:
    """x times the transpose of (n, k) random codes: numbers of variance 1/k."""

    def __init__(self, k: int, n: int):
        self.codes = torch.randint(-127, 128, (n, k), dtype=torch.int8)
        self.scales = torch.full((n,), k**-0.5 * 12**0.5 / 255, dtype=torch.bfloat16)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch._weight_int8pack_mm(x, self.codes, self.scales)


class Layer:
    """Four projections and a feed-forward layer; heads are added up where attention would be."""

    def __init__(self, d_model: int, d_ff: int):
        self.qkv = [Product(d_model, d_model) for _ in range(3)]
        self.out = Product(d_model, d_model)
        self.wide, self.narrow = Product(d_model, d_ff), Product(d_ff, d_model)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.out(sum(product(x) for product in self.qkv))
        return x + self.narrow(torch.relu(self.wide(x)))


def products(sizes: dict, depths: list[int], bits: int, n_tokens: int) -> dict[str, Callable]:
    """The runs of a worker: by depth, so many tokens through so many layers and the readout."""
    assert bits == 8
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    check()
    layers = [Layer(sizes["d_model"], sizes["d_ff"]) for _ in range(max(depths))]
    readout = Product(sizes["d_model"], sizes["vocab"])
    vector = torch.randn(1, sizes["d_model"], dtype=torch.bfloat16)

    def tokens(depth: int) -> None:
        with torch.inference_mode():
            for _ in range(n_tokens):
                x = vector
                for layer in layers[:depth]:
                    x = layer(x)
                readout(x)

    return {str(depth): lambda depth=depth: tokens(depth) for depth in depths}


def check(k: int = 256, n: int = 64) -> None:
    """A product is that of the codes' numbers in float32, but for the rounded activations."""
    product, x = Product(k, n), torch.randn(1, k)
    right = x @ (product.codes.float() * product.scales.float()[:, None]).T
    error = (product(x.bfloat16()).float() - right).norm() / right.norm()
    assert error < LARGEST_ERROR, f"off by {error:.3f}"
