"""A small recurrent branch beside a feed-forward layer, as the Terraformer has it.

A *simple recurrent unit* carries a vector c from position to position:

    f = σ(x W_f + b_f),  r = σ(x W_r + b_r)        what it forgets, what it shows
    c_t = f ⊙ c_{t−1} + (1 − f) ⊙ x W
    h_t = r ⊙ tanh(c_t) + (1 − r) ⊙ x

Unlike an LSTM's, the gates look at x alone. So everything but a sum that fades is computed for all
positions at once, and such sums may be put together in any grouping: log L steps instead of L.

Sources: Lei et al. 2018, arXiv 1709.02755; Jaszczur et al. 2021, arXiv 2111.12763, section 4.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float

from efftx.memory.loops import zeros_after
from efftx.models.layer import (
    NOTHING,
    Extra,
    Layer,
    OptionalKey,
    Parameter,
    Sizes,
    Stream,
    branch_scale,
    normal,
)
from efftx.validation import check_not_explicit, check_positive

Narrow = Float[Array, "length d_state"]
State = Float[Array, "d_state"]


def fading_sum(f: Narrow, u: Narrow, start: State) -> Narrow:
    """c_t = f_t ⊙ c_{t−1} + u_t at every position, from c before the first."""

    def together(earlier, later):
        (f1, u1), (f2, u2) = earlier, later
        return f1 * f2, f2 * u1 + u2

    faded, summed = jax.lax.associative_scan(together, (f, u))
    return faded * start + summed


def fading_sum_reference(f: Narrow, u: Narrow, start: State) -> Narrow:
    """The definition of :func:`fading_sum`: one position after the other."""
    cs, c = [], start
    for f_t, u_t in zip(f, u, strict=True):
        c = f_t * c + u_t
        cs.append(c)
    return jnp.stack(cs)


@register_dataclass
@dataclass(frozen=True)
class SRU:
    """A simple recurrent unit."""

    w: Parameter  # (d_state, 3, d_state): W, W_f, W_r
    b: Parameter  # (2, d_state): b_f, b_r

    def __call__(self, x: Narrow, state: State | None = None) -> tuple[Narrow, State]:
        """The output at every position, and the state after the last."""
        taken, forget, show = jnp.einsum("lm,mgn->gln", x, self.w)
        f, r = jax.nn.sigmoid(forget + self.b[0]), jax.nn.sigmoid(show + self.b[1])
        start = zeros_after(x, x[0]) if state is None else state
        c = fading_sum(f, (1 - f) * taken, start)
        return r * jnp.tanh(c) + (1 - r) * x, c[-1]


@register_dataclass
@dataclass(frozen=True)
class WithSRU(Layer):
    """A feed-forward layer, plus an SRU between a projection down to d_state and one back."""

    layer: Layer
    down: Parameter  # (d_model, d_state)
    sru: SRU
    up: Parameter  # (d_state, d_model)

    def __call__(
        self, x: Stream, key: OptionalKey = None, extra: Extra = NOTHING, replay: Any = None
    ) -> tuple[Stream, Any]:
        check_not_explicit(x=x, layer=self)
        y, replay = self.layer(x, key, extra, replay)
        return y + self.recurrent(x)[0], replay

    def recurrent(self, x: Stream, state: State | None = None) -> tuple[Stream, State]:
        h, state = self.sru(x @ self.down, state)
        return h @ self.up, state

    def prefill(self, x: Stream, key=None, extra=NOTHING, *, capacity: int) -> tuple:
        """y of a prompt; the cache is what the layer remembers, and the SRU's state."""
        y, seen = self.layer.prefill(x, key, extra, capacity=capacity)
        side, state = self.recurrent(x)
        return y + side, (seen, state)

    def step(self, x: Stream, cache: tuple, position: Array, key=None, extra=NOTHING) -> tuple:
        seen, state = cache
        y, seen = self.layer.step(x, seen, position, key, extra)
        side, state = self.recurrent(x, state)
        return y + side, (seen, state)

    def in_eight_bits(self) -> "WithSRU":
        """The layer; the SRU is small and stays."""
        return replace(self, layer=self.layer.in_eight_bits())

    def read(self, of: Callable) -> int:
        return of(self) - of(self.layer) + self.layer.read(of)


def with_sru(init: Callable, d_state: int = 32) -> Callable:
    """From an ``init(key, sizes)`` of a feed-forward layer to that of the layer with an SRU.

    It begins by forgetting slowly: f is about 0.88, and a position is halved after five.

    Raises ValueError for d_state < 1.
    """
    check_positive(d_state=d_state)

    def init_both(key, sizes: Sizes) -> WithSRU:
        layer_key, down_key, w_key, up_key = jax.random.split(key, 4)
        return WithSRU(
            layer=init(layer_key, sizes),
            down=normal(down_key, (sizes.d_model, d_state), sizes.d_model**-0.5),
            sru=SRU(
                w=normal(w_key, (d_state, 3, d_state), d_state**-0.5),
                b=jnp.stack([jnp.full(d_state, 2.0), jnp.zeros(d_state)]),
            ),
            up=normal(up_key, (d_state, sizes.d_model), branch_scale(sizes, d_state)),
        )

    return init_both
