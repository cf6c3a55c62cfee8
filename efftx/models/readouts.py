"""From the last vector of each position to a score for each token."""

from dataclasses import dataclass, field, replace

import jax
from jax import lax
from jax.tree_util import register_dataclass

from efftx.models.layer import Logits, Parameter, Sizes, Stream, normal
from efftx.models.matrices import EightBitMatrix, eight_bit_matrix, times
from efftx.models.norm import Norm, init_norm
from efftx.sparsity import multiplicative_logits
from efftx.validation import check_positive


@register_dataclass
@dataclass(frozen=True)
class Readout:
    """A norm, then a matrix with a column for each token."""

    norm: Norm
    w: Parameter  # (d_model, vocab)

    def __call__(self, x: Stream) -> Logits:
        return times(self.norm(x), self.w)

    @property
    def n_tokens(self) -> int:
        return self.w.out[-1] if isinstance(self.w, EightBitMatrix) else self.w.shape[-1]

    def in_eight_bits(self) -> "Readout":
        return replace(self, w=eight_bit_matrix(self.w))

    def for_steps(self) -> "Readout":
        """The same readout as it is fastest for one position at a time."""
        return self


def init_readout(key, sizes: Sizes) -> Readout:
    return Readout(init_norm(sizes), normal(key, (sizes.d_model, sizes.vocab), 0.02))


@register_dataclass
@dataclass(frozen=True)
class MultiplicativeReadout(Readout):
    """A readout whose w are the factors of a matrix: D (d_model, S) and E (d_model, ⌈vocab/S⌉)."""

    vocab: int = field(metadata={"static": True})

    def __call__(self, x: Stream) -> Logits:
        return multiplicative_logits(self.norm(x), *self.w, self.vocab)

    @property
    def n_tokens(self) -> int:
        return self.vocab

    def in_eight_bits(self) -> "MultiplicativeReadout":
        """As it is: it has few numbers."""
        return self

    def for_steps(self) -> "ReadoutByRows":
        d, e = self.w
        return ReadoutByRows(self.norm, (d, e.T), vocab=self.vocab)


@register_dataclass
@dataclass(frozen=True)
class ReadoutByRows(MultiplicativeReadout):
    """A readout whose w is D (d_model, S) and E's transpose (⌈vocab/S⌉, d_model).

    Of a matrix and few vectors a product is fastest in this order, with a row for each number that
    comes out: twice as fast here as the other.
    """

    def __call__(self, x: Stream) -> Logits:
        d, rows = self.w

        def of_one(x):
            # Without a barrier XLA turns the product around, to save turning its result.
            by_token = lax.optimization_barrier(rows @ (x[:, None] * d))
            return by_token.T.reshape(-1)[: self.vocab]

        return lax.map(of_one, self.norm(x))

    def for_steps(self) -> "ReadoutByRows":
        return self


def init_multiplicative_readout(key, sizes: Sizes, *, n_modules: int = 4) -> MultiplicativeReadout:
    """Scores start as small as those of a dense readout."""
    check_positive(n_modules=n_modules)
    d_key, e_key = jax.random.split(key)
    d = normal(d_key, (sizes.d_model, n_modules), 1.0)
    e = normal(e_key, (sizes.d_model, -(-sizes.vocab // n_modules)), 0.02)
    return MultiplicativeReadout(init_norm(sizes), (d, e), vocab=sizes.vocab)
