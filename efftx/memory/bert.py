"""BERT-Large's ledger: the model whose maximum batches the talk quotes.

Source: Devlin et al. 2018, arXiv 1810.04805, and the table of maximum batches in the notes on
memory of its repository, google-research/bert.
"""

from efftx.memory.ledger import Kept, Step

# The largest batch by length with which BERT-Large could be fine-tuned on a Titan X of 12 GB.
QUOTED_MAX_BATCH = {64: 12, 128: 6, 256: 2, 320: 1, 384: 0, 512: 0}

N_LAYERS, D_MODEL, D_FF, N_HEADS = 24, 1024, 4096, 16
VOCAB, MAX_LEN, N_SEGMENTS = 30_522, 512, 2

# Of a block without any fusion, as GPUs ran it then. Beside q, k, v and what the heads return: in
# each branch four arrays, for projection, dropout, sum and norm; around the GELU four more of width
# d_ff; scores before the softmax, after it, and after its dropout.
UNFUSED = Kept(d_model=8, vectors=4, scores=3, d_ff=4, numbers=0, head_numbers=0)


def parameters_by_part() -> dict[str, int]:
    """How many numbers each part of BERT-Large consists of."""
    norm, square = 2 * D_MODEL, D_MODEL * D_MODEL + D_MODEL  # weights and biases
    feed_forward = 2 * D_MODEL * D_FF + D_FF + D_MODEL
    return {
        "embeddings": (VOCAB + MAX_LEN + N_SEGMENTS) * D_MODEL + norm,
        "attention": N_LAYERS * (4 * square + norm),
        "feed-forward": N_LAYERS * (feed_forward + norm),
        "pooler": square,
    }


def bert_large(length: int, *, bytes_per_parameter: float | int = 16) -> Step:
    """One example of this length; its classifier of a few classes is left out.

    Each parameter is itself (4 bytes), its gradient (4), and what the optimiser keeps: two moments
    of Adam make 16. The talk's table asks for more, see chapter 02.
    """
    return Step(
        n_layers=N_LAYERS,
        d_model=D_MODEL,
        d_ff=D_FF,
        n_heads=N_HEADS,
        d_head=D_MODEL // N_HEADS,
        vocab=1,
        length=length,
        kept=UNFUSED,
        parameters=sum(parameters_by_part().values()),
        optimiser_bytes=bytes_per_parameter - 8,
    )
