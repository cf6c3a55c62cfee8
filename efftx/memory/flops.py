"""How many multiplications and additions a training step takes.

Matrix products only, as is usual: what is done number by number costs time through memory instead.
"""

from efftx.memory.ledger import BLOCK_LEN, Step


def forward_flops(step: Step) -> int:
    """Multiplications and additions of the forward pass: two for each weight and each token.

    Attention adds two products, of queries with keys and of weights with values: over all pairs
    ("full"), over half of them (blocked, which skips what is not causal), or over two chunks of
    keys in each round of hashing.
    """
    return step.batch * sum(_flops_of_parts(step).values())


def step_flops(step: Step) -> int:
    """Those of a training step: each product of the forward pass has two in the backward pass.

    What was not kept is computed once more: reversible blocks whole, a feed-forward layer in chunks
    up to its activations (in a reversible block it is computed anyhow), blocked and LSH attention
    their scores, a loss in chunks its logits.
    """
    parts = _flops_of_parts(step)
    again = parts["attention"] / 2 if step.attention != "full" else 0
    if step.ff_chunk_len is not None and not step.reversible:
        again += parts["feed-forward"] / 2
    if step.reversible:
        again += parts["projections"] + parts["attention"] + parts["feed-forward"]
    if step.loss_chunk_len is not None:
        again += parts["readout"]
    return round(step.batch * (3 * sum(parts.values()) + again))


def _flops_of_parts(step: Step) -> dict[str, int]:
    L, d, heads = step.length, step.d_model, step.n_heads * step.d_head
    n_keys = {
        "full": L,
        "blocked": (L + min(L, BLOCK_LEN)) / 2,
        "shared": (L + min(L, BLOCK_LEN)) / 2,
        "lsh": step.n_hashes * 2 * min(step.lsh_chunk_len, L),
    }[step.attention]
    n_projections = 4 if step.attention in ("full", "blocked") else 3
    return {
        "projections": step.n_layers * 2 * L * n_projections * d * heads,
        "attention": step.n_layers * round(2 * 2 * L * n_keys * heads),
        "feed-forward": step.n_layers * 2 * L * 2 * d * step.d_ff,
        "readout": 2 * L * d * step.vocab,
    }
