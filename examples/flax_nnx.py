"""A module of Flax NNX whose attention is hashed: `python examples/flax_nnx.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from efftx.models import Dense, Hashed, Sizes, attention_layer, lsh_attention_of_heads

WIDTH, HEADS, VOCAB, LENGTH = 32, 4, 256, 64
HOW = {"n_hashes": 2, "chunk_len": 16}
TEXT = np.frombuffer(b"she sells sea shells by the sea shore. " * 4, np.uint8)


class HashedAttention(nnx.Module):
    """In the place of nnx.MultiHeadAttention; (batch, length, width) → the same."""

    def __init__(self, rngs: nnx.Rngs):
        shape = HEADS, WIDTH // HEADS
        self.qk = nnx.LinearGeneral(WIDTH, shape, use_bias=False, rngs=rngs)
        self.v = nnx.LinearGeneral(WIDTH, shape, use_bias=False, rngs=rngs)
        self.out = nnx.LinearGeneral(shape, WIDTH, axis=(-2, -1), use_bias=False, rngs=rngs)

    def __call__(self, x, key):
        return self.out(lsh_attention_of_heads(self.qk(x), self.v(x), key=key, **HOW))


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.tokens = nnx.Embed(VOCAB, WIDTH, rngs=rngs)
        self.attention = HashedAttention(rngs)
        self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)
        self.readout = nnx.Linear(WIDTH, VOCAB, rngs=rngs)

    def __call__(self, tokens, key):
        x = self.tokens(tokens)
        x = x + self.attention(x, key)
        return self.readout(x + self.down(nnx.relu(self.up(x))))


def check_equal(attention: HashedAttention) -> None:
    """It is the package's own layer, with these parameters."""
    x, key = jax.random.normal(jax.random.key(1), (LENGTH, WIDTH)), jax.random.key(2)
    sizes = Sizes(d_model=WIDTH, n_heads=HEADS, d_head=WIDTH // HEADS)
    layer = attention_layer(Hashed(**HOW))(key, sizes)
    w_in = jnp.stack([attention.qk.kernel[...], attention.v.kernel[...]], axis=1)
    layer = type(layer)(Dense(w_in, attention.out.kernel[...]), layer.kind)
    np.testing.assert_allclose(attention(x[None], key)[0], layer(x, key)[0], rtol=1e-4, atol=1e-5)


def main() -> None:
    model = Model(nnx.Rngs(0))
    check_equal(model.attention)
    # nnx.Optimizer takes a state apart that is no tree of plain arrays, as that of adam_8bit.
    optimiser = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    windows = jnp.int32([TEXT[start : start + LENGTH + 1] for start in (0, 9)])

    @nnx.jit
    def step(model, optimiser, key):
        def loss(model):
            logits = jax.nn.log_softmax(model(windows[:, :-1], key))
            return -jnp.take_along_axis(logits, windows[:, 1:, None], axis=-1).mean()

        value, gradient = nnx.value_and_grad(loss)(model)
        optimiser.update(model, gradient)
        return value

    values = [float(step(model, optimiser, jax.random.key(number))) for number in range(10)]
    assert values[-1] < values[0], values
    print(f"equal to efftx's layer; loss {values[0]:.2f} -> {values[-1]:.2f}")


if __name__ == "__main__":
    main()
