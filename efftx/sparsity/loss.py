"""The scores of all tokens from few parameters: a multiplicative layer as the readout.

A dense readout has d_model·vocab parameters, and every generated token reads them all. With S
modules it is S·d_model + d_model·vocab/S: of S = 4, a quarter.

Source: Jaszczur et al. 2021, arXiv 2111.12763, section 3.3.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from efftx.sparsity.qkv import check_factors, multiplicative, multiplicative_reference
from efftx.validation import check_positive, describe, require


def multiplicative_logits(
    x: Float[Array, "length d_model"],
    d: Float[Array, "d_model n_modules"],
    e: Float[Array, "d_model d_module"],
    vocab: int,
) -> Float[Array, "length vocab"]:
    """Token number s·M + m has the score Σ_i x_i D_{i,s} E_{i,m}.

    Any vocab ≥ 1: the S modules have M = ⌈vocab/S⌉ scores each, and the last few have no token.

    Raises ValueError for shapes that do not fit.
    """
    check_readout(x, d, e, vocab)
    return multiplicative(x, d, e).reshape(len(x), -1)[:, :vocab]


def multiplicative_logits_reference(
    x: Float[Array, "length d_model"],
    d: Float[Array, "d_model n_modules"],
    e: Float[Array, "d_model d_module"],
    vocab: int,
) -> Float[Array, "length vocab"]:
    """The definition of :func:`multiplicative_logits`, score by score."""
    scores = multiplicative_reference(x, d, e)
    d_module = e.shape[1]
    return jnp.stack([scores[:, v // d_module, v % d_module] for v in range(vocab)], axis=1)


def check_readout(x, d, e, vocab: int) -> None:
    check_factors(x, d, e)
    check_positive(vocab=vocab)
    n_modules, d_module = d.shape[1], e.shape[1]
    require(
        d_module == -(-vocab // n_modules),
        f"for {vocab} tokens in {n_modules} modules E must be (d_model, "
        f"{-(-vocab // n_modules)}); got {describe(e)}.",
    )
