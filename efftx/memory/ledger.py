"""What a training step keeps in memory, byte by byte, before anything is run.

A step holds its parameters, their gradients and the optimiser's state, which depend on the model
only. It also holds what the forward pass keeps for the backward pass, its *activations*, which grow
with batch and length. And for a moment it holds whatever the layer needs that is being worked on.

    step = Step(n_layers=12, d_model=768, d_ff=3072, n_heads=12, d_head=64, vocab=256, length=4096)
    entries(step)  # bytes by name
    max_batch(step, budget=16 * 2**30)

The counts of activations are those of ``efftx.models`` under ``jax.vjp``, and tests hold them to
it. A compiler may keep less: it can recompute cheap things, and write new arrays over dead ones.
"""

from dataclasses import dataclass, replace
from numbers import Real
from typing import NamedTuple

import numpy as np

from efftx.validation import check_choice, check_positive, require


class Kept(NamedTuple):
    """How many arrays of each width a block keeps for its backward pass; a bool is a quarter."""

    d_model: float | int  # (length, d_model): inputs, and three arrays for each layer norm
    vectors: float | int  # (length, n_heads · d_head): q, k, v, and what the heads return
    scores: float | int  # (n_heads, length, length): before the softmax, and after it
    d_ff: float | int  # (length, d_ff)
    numbers: float | int  # (length,): means and variances
    head_numbers: float | int  # (n_heads, length): maxima and sums of the softmax


KEPT = {
    "full": Kept(d_model=8, vectors=4, scores=2, d_ff=1.25, numbers=6, head_numbers=2),
    "blocked": Kept(d_model=8, vectors=4, scores=0, d_ff=1.25, numbers=6, head_numbers=1),
    "shared": Kept(d_model=8, vectors=6.25, scores=0, d_ff=1.25, numbers=6, head_numbers=4.25),
    "lsh": Kept(d_model=8, vectors=3, scores=0, d_ff=1.25, numbers=6, head_numbers=1),
}
BLOCK_LEN = 512  # of blocked attention: scores, weights and gradients exist for a pair of blocks


@dataclass(frozen=True)
class Step:
    """The numbers that fix what a training step keeps. ``Step(**vars(sizes), length=…)`` works."""

    n_layers: int
    d_model: int
    d_ff: int
    n_heads: int
    d_head: int
    vocab: int
    length: int
    max_len: int | None = None  # of the position embeddings; the length, where None
    batch: int = 1
    attention: str = "full"  # "blocked", "shared" (shared QK, blocked) or "lsh"
    n_hashes: int = 1
    lsh_chunk_len: int = 64
    reversible: bool = False
    ff_chunk_len: int | None = None
    loss_chunk_len: int | None = None
    bytes_per_number: int = 4
    optimiser_bytes: float | int = 8  # for each parameter: Adam's two moments in float32
    kept: Kept | None = None  # of another implementation, in place of KEPT[attention]
    parameters: int | None = None  # of another model, in place of the count

    def __post_init__(self):
        check_choice("attention", self.attention, tuple(KEPT))
        whole = "n_layers d_model d_ff n_heads d_head vocab length batch n_hashes"
        check_positive(**{name: getattr(self, name) for name in whole.split()})
        check_positive(lsh_chunk_len=self.lsh_chunk_len, bytes_per_number=self.bytes_per_number)
        optional = "max_len ff_chunk_len loss_chunk_len parameters"
        given = {name: getattr(self, name) for name in optional.split()}
        check_positive(**{name: value for name, value in given.items() if value is not None})
        require(
            self.optimiser_bytes >= 0,
            f"optimiser_bytes must not be negative; got {self.optimiser_bytes!r}.",
        )


def n_parameters(step: Step) -> int:
    """How many numbers the model consists of."""
    if step.parameters is not None:
        return step.parameters
    d, heads = step.d_model, step.n_heads * step.d_head
    n_projections = 3 if step.attention in ("full", "blocked") else 2
    attention = (n_projections + 1) * d * heads
    feed_forward = 2 * d * step.d_ff + step.d_ff + d
    embeddings = (step.vocab + (step.max_len or step.length)) * d
    readout = 2 * d + d * step.vocab
    return embeddings + step.n_layers * (attention + feed_forward + 4 * d) + readout


def state_bytes(step: Step) -> dict[str, int]:
    """What a step holds whatever the batch: one entry each for weights, gradients, optimiser."""
    n = n_parameters(step)
    return {
        "parameters": n * step.bytes_per_number,
        "gradients": n * step.bytes_per_number,
        "optimiser state": round(n * step.optimiser_bytes),
    }


def activation_bytes(step: Step) -> dict[str, int]:
    """What the forward pass keeps for the backward pass, by part; proportional to the batch.

    Reversible blocks keep nothing but the two last streams (and buckets, which must be replayed);
    the readout and the loss come after them and keep what they keep.
    """
    kept, d, L, H = step.kept or KEPT[step.attention], step.d_model, step.length, step.n_heads
    blocks = 0 if step.reversible else step.n_layers
    once = 0 if step.reversible or step.kept else 1  # constants that a scan over blocks keeps once
    chunked_ff, chunked_loss = step.ff_chunk_len is not None, step.loss_chunk_len is not None
    norms = 2 - chunked_ff  # a feed-forward layer in chunks norms its chunk anew, and keeps x
    each = norms / 2 * (kept.d_model * d + kept.numbers) + chunked_ff * d
    numbers = {
        "streams": 2 * L * d if step.reversible else 0,
        "norms and inputs": blocks * L * each,
        "attention vectors": blocks * L * H * (kept.vectors * step.d_head + kept.head_numbers),
        "attention scores": bool(kept.scores) * (blocks * kept.scores + once * 2.5) * H * L * L,
        "feed-forward": 0 if chunked_ff else (blocks * kept.d_ff + once) * L * step.d_ff,
        "readout and loss": L * (d + 1 if chunked_loss else 4 * d + step.vocab + 6),
    }
    n_bytes = {name: n * step.bytes_per_number for name, n in numbers.items()}
    n_bytes["hash buckets"] = step.n_layers * bucket_bytes(step)
    return {name: round(step.batch * n) for name, n in n_bytes.items()}


def bucket_bytes(step: Step) -> int:
    """One layer's buckets and the order that they bring; all but the buckets can be found anew.

    Four int32 for each position and round; reversible blocks keep the buckets only, in the
    narrowest type that holds them.
    """
    if step.attention != "lsh":
        return 0
    n_buckets = 2 * -(-step.length // step.lsh_chunk_len)
    each = np.min_scalar_type(n_buckets - 1).itemsize if step.reversible else 4 * 4
    return step.n_hashes * step.n_heads * step.length * each


def working_bytes(step: Step) -> int:
    """What exists besides, for a moment, where the backward pass needs most; times the batch.

    In the loss that is the gradient of the logits; in a branch the gradients of its widest arrays,
    and the arrays themselves where they were not kept. Of another implementation nothing is known.
    """
    if step.kept is not None:
        return 0
    kept, L, H = KEPT[step.attention], step.length, step.n_heads
    loss_rows, ff_rows = (min(n or L, L) for n in (step.loss_chunk_len, step.ff_chunk_len))
    anew, vectors = step.reversible, L * H * step.d_head
    block = 0 if step.attention == "lsh" else 3 * H * min(L, BLOCK_LEN) ** 2
    scores = (1 + anew * kept.scores) * H * L * L if kept.scores else block
    branch = anew * L * step.d_model * (kept.d_model / 2 + 2)  # with the streams' gradients
    phases = {
        "loss": loss_rows * step.vocab * (1 if step.loss_chunk_len is None else 2),
        "attention": branch + scores + vectors * (3 + anew * kept.vectors),
        "feed-forward": branch + ff_rows * step.d_ff * (1 + (anew or ff_rows < L) * kept.d_ff),
    }
    return round(step.batch * step.bytes_per_number * max(phases.values()))


def entries(step: Step) -> dict[str, int]:
    """Every entry in bytes; entries that are 0 are left out."""
    everything = {
        **state_bytes(step),
        **activation_bytes(step),
        "working memory": working_bytes(step),
    }
    return {name: n for name, n in everything.items() if n}


class Fit(NamedTuple):
    """The largest batch that fits, and what stands in the way of a larger one."""

    batch: int
    reason: str


def max_batch(step: Step, budget: int | float) -> Fit:
    """How many examples a step may take in ``budget`` bytes; 0, with the reason, where none fits.

    Raises ValueError unless the budget is a positive number of bytes.
    """
    check_budget(budget)
    model, one = sum(state_bytes(step).values()), example_bytes(step)
    if model > budget:
        why = "parameters, gradients and optimiser state alone take"
        return Fit(0, f"{why} {in_gib(model)} of {in_gib(budget)}")
    batch = int((budget - model) // one)
    left = f"{in_gib(model)} for the model leave {in_gib(budget - model)}"
    return Fit(batch, f"{left}, and one example takes {in_gib(one)}")


def example_bytes(step: Step) -> int:
    """What each further example of a batch costs."""
    alone = replace(step, batch=1)
    return sum(activation_bytes(alone).values()) + working_bytes(alone)


def check_budget(budget) -> None:
    number = isinstance(budget, Real) and not isinstance(budget, bool)
    require(
        number and 0 < budget < float("inf"),
        f"budget must be a positive number of bytes, as 16 * 2**30; got {budget!r}.",
    )


def in_gib(n_bytes: float | int) -> str:
    """For people: GiB, and what is less than a tenth of one in MiB."""
    gib = n_bytes / 2**30
    return f"{gib:.2f} GiB" if gib >= 0.1 else f"{1024 * gib:.3g} MiB"
