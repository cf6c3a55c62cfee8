"""A module of Equinox with hashed attention: python examples/equinox_model.py.

`equinox.filter_value_and_grad` and `filter_jit` see to what is no array. Where a function of efftx
takes a module as its parameters, as `map_chunks` does, give it the arrays alone:
`arrays, rest = equinox.partition(module, equinox.is_array)`, and inside it `equinox.combine`.
"""

import equinox
import jax
import jax.numpy as jnp
import numpy as np

from efftx.memory import adam_8bit, map_chunks
from efftx.models import Dense, Hashed, Sizes, attention_layer, lsh_attention_of_heads

WIDTH, HEADS, VOCAB, LENGTH = 32, 4, 256, 64
HOW = {"n_hashes": 2, "chunk_len": 16}
TEXT = np.frombuffer(b"she sells sea shells by the sea shore. " * 4, np.uint8)


class HashedAttention(equinox.Module):
    """In the place of equinox.nn.MultiheadAttention; (batch, length, width) → the same."""

    qk: jax.Array  # (width, heads, d_head)
    v: jax.Array
    out: jax.Array  # (heads, d_head, width)

    def __init__(self, key):
        keys, shape = jax.random.split(key, 3), (WIDTH, HEADS, WIDTH // HEADS)
        self.qk, self.v = (jax.random.normal(k, shape) * WIDTH**-0.5 for k in keys[:2])
        self.out = jax.random.normal(keys[2], (*shape[1:], WIDTH)) * WIDTH**-0.5

    def __call__(self, x, key):
        qk, v = (jnp.einsum("blm,mhd->blhd", x, w) for w in (self.qk, self.v))
        out = lsh_attention_of_heads(qk, v, key=key, **HOW)
        return jnp.einsum("blhd,hdm->blm", out, self.out)


class Model(equinox.Module):
    tokens: equinox.nn.Embedding
    attention: HashedAttention
    feed_forward: equinox.nn.MLP
    readout: equinox.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 4)
        self.tokens = equinox.nn.Embedding(VOCAB, WIDTH, key=keys[0])
        self.attention = HashedAttention(keys[1])
        self.feed_forward = equinox.nn.MLP(WIDTH, WIDTH, 4 * WIDTH, 1, key=keys[2])
        self.readout = equinox.nn.Linear(WIDTH, VOCAB, key=keys[3])

    def __call__(self, tokens, key):
        x = self.tokens.weight[tokens]
        x = x + self.attention(x, key)
        arrays, rest = equinox.partition(self.feed_forward, equinox.is_array)
        whole = lambda arrays, x: jax.vmap(equinox.combine(arrays, rest))(x)  # noqa: E731
        in_chunks = lambda x: map_chunks(whole, arrays, x, chunk_len=16)  # noqa: E731
        return jax.vmap(jax.vmap(self.readout))(x + jax.vmap(in_chunks)(x))


def check_equal(attention: HashedAttention) -> None:
    """It is the package's own layer, with these parameters."""
    x, key = jax.random.normal(jax.random.key(1), (LENGTH, WIDTH)), jax.random.key(2)
    sizes = Sizes(d_model=WIDTH, n_heads=HEADS, d_head=WIDTH // HEADS)
    layer = attention_layer(Hashed(**HOW))(key, sizes)
    w_in = jnp.stack([attention.qk, attention.v], axis=1)
    layer = type(layer)(Dense(w_in, attention.out), layer.kind)
    np.testing.assert_allclose(attention(x[None], key)[0], layer(x, key)[0], rtol=1e-4, atol=1e-5)


def main() -> None:
    model = Model(jax.random.key(0))
    check_equal(model.attention)
    optimiser = adam_8bit(1e-2)
    state = optimiser.init(equinox.filter(model, equinox.is_array))
    windows = jnp.int32([TEXT[start : start + LENGTH + 1] for start in (0, 9)])

    @equinox.filter_jit
    def step(model, state, key):
        @equinox.filter_value_and_grad
        def loss(model):
            logits = jax.nn.log_softmax(model(windows[:, :-1], key))
            return -jnp.take_along_axis(logits, windows[:, 1:, None], axis=-1).mean()

        value, gradient = loss(model)
        updates, state = optimiser.update(gradient, state)
        return equinox.apply_updates(model, updates), state, value

    values = []
    for number in range(10):
        model, state, value = step(model, state, jax.random.key(number))
        values.append(float(value))
    assert values[-1] < values[0], values
    print(f"equal to efftx's layer; loss {values[0]:.2f} -> {values[-1]:.2f}")


if __name__ == "__main__":
    main()
