"""Parameters in a dictionary, jax.jit, jax.grad and optax: `python examples/plain_jax.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from efftx.memory import adam_8bit, chunked_cross_entropy, map_chunks
from efftx.models import Dense, Hashed, Sizes, attention_layer, lsh_attention_of_heads

WIDTH, HEADS, VOCAB, LENGTH = 32, 4, 256, 64
HOW = {"n_hashes": 2, "chunk_len": 16}
TEXT = np.frombuffer(b"she sells sea shells by the sea shore. " * 4, np.uint8)


def init(key) -> dict:
    keys = iter(jax.random.split(key, 8))
    normal = lambda *shape: jax.random.normal(next(keys), shape) * shape[0] ** -0.5  # noqa: E731
    return {
        "tokens": normal(VOCAB, WIDTH),
        "qk": normal(WIDTH, HEADS, WIDTH // HEADS),
        "v": normal(WIDTH, HEADS, WIDTH // HEADS),
        "out": normal(HEADS, WIDTH // HEADS, WIDTH),
        "up": normal(WIDTH, 4 * WIDTH),
        "down": normal(4 * WIDTH, WIDTH),
        "readout": normal(WIDTH, VOCAB),
    }


def attend(params: dict, x, key):
    """(batch, length, width) → the same; the heads are hashed, each with a key of its own."""
    qk, v = (jnp.einsum("blm,mhd->blhd", x, params[name]) for name in ("qk", "v"))
    out = lsh_attention_of_heads(qk, v, key=key, **HOW)
    return jnp.einsum("blhd,hdm->blm", out, params["out"])


def feed_forward(params: dict, x):
    return jax.nn.relu(x @ params["up"]) @ params["down"]


def loss(params: dict, windows, key):
    """Mean nats of each next byte; no feed-forward layer and no logits are there as a whole."""
    x = params["tokens"][windows[:, :-1]]
    x = x + attend(params, x, key)

    def of_example(x, targets):
        x = x + map_chunks(feed_forward, params, x, chunk_len=16)
        read = lambda params, x: x @ params["readout"]  # noqa: E731
        return chunked_cross_entropy(read, params, x, targets, chunk_len=16)

    return jax.vmap(of_example)(x, windows[:, 1:]).mean()


def check_equal(params: dict) -> None:
    """The attention is that of the package's own layer, with these parameters."""
    x, key = jax.random.normal(jax.random.key(1), (LENGTH, WIDTH)), jax.random.key(2)
    sizes = Sizes(d_model=WIDTH, n_heads=HEADS, d_head=WIDTH // HEADS)
    layer = attention_layer(Hashed(**HOW))(key, sizes)
    w_in = jnp.stack([params["qk"], params["v"]], axis=1)
    layer = type(layer)(Dense(w_in, params["out"]), layer.kind)
    ours, theirs = attend(params, x[None], key)[0], layer(x, key)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def main() -> None:
    params = init(jax.random.key(0))
    check_equal(params)
    optimiser = adam_8bit(1e-2)
    state = optimiser.init(params)
    windows = jnp.int32([TEXT[start : start + LENGTH + 1] for start in (0, 9)])

    @jax.jit
    def step(params, state, key):
        value, gradient = jax.value_and_grad(loss)(params, windows, key)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    values = []
    for number in range(10):
        params, state, value = step(params, state, jax.random.key(number))
        values.append(float(value))
    assert values[-1] < values[0], values
    print(f"equal to efftx's layer; loss {values[0]:.2f} -> {values[-1]:.2f}")


if __name__ == "__main__":
    main()
