"""A module of Flax linen whose attention is hashed: `python examples/flax_linen.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from efftx.memory import adam_8bit
from efftx.models import Dense, Hashed, Sizes, attention_layer, lsh_attention_of_heads

WIDTH, HEADS, VOCAB, LENGTH = 32, 4, 256, 64
HOW = {"n_hashes": 2, "chunk_len": 16}
TEXT = np.frombuffer(b"she sells sea shells by the sea shore. " * 4, np.uint8)


class HashedAttention(nn.Module):
    """In the place of nn.MultiHeadAttention; (batch, length, width) → the same."""

    @nn.compact
    def __call__(self, x):
        to_heads = {"features": (HEADS, WIDTH // HEADS), "use_bias": False}
        qk, v = (nn.DenseGeneral(name=name, **to_heads)(x) for name in ("qk", "v"))
        heads = lsh_attention_of_heads(qk, v, key=self.make_rng("hashes"), **HOW)
        return nn.DenseGeneral(WIDTH, axis=(-2, -1), use_bias=False, name="out")(heads)


class Model(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(VOCAB, WIDTH)(tokens)
        x = x + HashedAttention(name="attention")(x)
        x = x + nn.Dense(WIDTH)(nn.relu(nn.Dense(4 * WIDTH)(x)))
        return nn.Dense(VOCAB)(x)


def check_equal() -> None:
    """It is the package's own layer, with these parameters and the key that linen makes."""
    x, key = jax.random.normal(jax.random.key(1), (1, LENGTH, WIDTH)), jax.random.key(2)
    module = HashedAttention()
    params = module.init({"params": key, "hashes": key}, x)
    theirs = module.apply(params, x, rngs={"hashes": key})[0]
    hashes = nn.apply(lambda module: module.make_rng("hashes"), module)(
        params, rngs={"hashes": key}
    )
    sizes = Sizes(d_model=WIDTH, n_heads=HEADS, d_head=WIDTH // HEADS)
    layer = attention_layer(Hashed(**HOW))(key, sizes)
    kernels = {name: part["kernel"] for name, part in params["params"].items()}
    w_in = jnp.stack([kernels["qk"], kernels["v"]], axis=1)
    layer = type(layer)(Dense(w_in, kernels["out"]), layer.kind)
    np.testing.assert_allclose(theirs, layer(x[0], hashes)[0], rtol=1e-4, atol=1e-5)


def main() -> None:
    check_equal()
    model, optimiser = Model(), adam_8bit(1e-2)
    windows = jnp.int32([TEXT[start : start + LENGTH + 1] for start in (0, 9)])
    keys = {"params": jax.random.key(0), "hashes": jax.random.key(1)}
    params = model.init(keys, windows[:, :-1])

    @jax.jit
    def step(params, state, key):
        def loss(params):
            logits = model.apply(params, windows[:, :-1], rngs={"hashes": key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state, values = optimiser.init(params), []
    for number in range(10):
        params, state, value = step(params, state, jax.random.key(number))
        values.append(float(value))
    assert values[-1] < values[0], values
    print(f"equal to efftx's layer; loss {values[0]:.2f} -> {values[-1]:.2f}")


if __name__ == "__main__":
    main()
