"""A module of Haiku whose attention is hashed: `python examples/haiku_model.py`."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from efftx.memory import adam_8bit
from efftx.models import Dense, Hashed, Sizes, attention_layer, lsh_attention_of_heads

WIDTH, HEADS, VOCAB, LENGTH = 32, 4, 256, 64
HOW = {"n_hashes": 2, "chunk_len": 16}
KEY = jax.random.key_data  # Haiku's keys are of JAX's older kind, two whole numbers
TEXT = np.frombuffer(b"she sells sea shells by the sea shore. " * 4, np.uint8)


class HashedAttention(hk.Module):
    """In the place of hk.MultiHeadAttention; (batch, length, width) → the same."""

    def __call__(self, x, key):
        qk, v = (hk.Linear(WIDTH, with_bias=False, name=name)(x) for name in ("qk", "v"))
        in_heads = (*x.shape[:-1], HEADS, WIDTH // HEADS)
        heads = lsh_attention_of_heads(qk.reshape(in_heads), v.reshape(in_heads), key=key, **HOW)
        return hk.Linear(WIDTH, with_bias=False, name="out")(heads.reshape(x.shape))


def model(tokens):
    key = jax.random.wrap_key_data(hk.next_rng_key())
    x = hk.Embed(VOCAB, WIDTH)(tokens)
    x = x + HashedAttention(name="attention")(x, key)
    x = x + hk.Linear(WIDTH)(jax.nn.relu(hk.Linear(4 * WIDTH)(x)))
    return hk.Linear(VOCAB)(x)


def check_equal() -> None:
    """It is the package's own layer, with these parameters."""
    x, key = jax.random.normal(jax.random.key(1), (1, LENGTH, WIDTH)), jax.random.key(2)
    attention = hk.without_apply_rng(hk.transform(lambda x: HashedAttention(name="here")(x, key)))
    params = attention.init(KEY(jax.random.key(0)), x)
    qk, v, out = (params[f"here/{name}"]["w"] for name in ("qk", "v", "out"))
    sizes = Sizes(d_model=WIDTH, n_heads=HEADS, d_head=WIDTH // HEADS)
    layer = attention_layer(Hashed(**HOW))(key, sizes)
    w_in = jnp.stack([qk, v], axis=1).reshape(WIDTH, 2, HEADS, -1)
    layer = type(layer)(Dense(w_in, out.reshape(HEADS, -1, WIDTH)), layer.kind)
    ours = layer(x[0], key)[0]
    np.testing.assert_allclose(attention.apply(params, x)[0], ours, rtol=1e-4, atol=1e-5)


def main() -> None:
    check_equal()
    transformed, optimiser = hk.transform(model), adam_8bit(1e-2)
    windows = jnp.int32([TEXT[start : start + LENGTH + 1] for start in (0, 9)])
    params = transformed.init(KEY(jax.random.key(0)), windows[:, :-1])

    @jax.jit
    def step(params, state, key):
        def loss(params):
            logits = transformed.apply(params, key, windows[:, :-1])
            return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state, values = optimiser.init(params), []
    for number in range(10):
        params, state, value = step(params, state, KEY(jax.random.key(number)))
        values.append(float(value))
    assert values[-1] < values[0], values
    print(f"equal to efftx's layer; loss {values[0]:.2f} -> {values[-1]:.2f}")


if __name__ == "__main__":
    main()
