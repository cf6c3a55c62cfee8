"""What a token reads, for chapter 12's widget."""

from efftx.sparsity import default_d_lowrank, n_multiplicative, n_sparse_qkv

# What the widget can be set to: layers, d_model, d_ff of the dense model, N, S, vocabulary.
MODELS = {
    "slice: 3 × 512": (3, 512, 2048, 64, 8, 2000),
    "medium: 24 × 1,024": (24, 1024, 4096, 64, 16, 32_000),
    "big: 29 × 4,096": (29, 4096, 32_768, 128, 32, 32_000),
}
READOUT_MODULES = 4


def weights_read(
    model: str, sparse_ff: bool, sparse_qkv: bool, sparse_readout: bool
) -> dict[str, int]:
    """By part, the weights that one token reads of a model of the list; norms are left aside.

    With sparse QKV the feed-forward layers are wider by 2·d_model, so that there are about as many
    parameters as before.
    """
    n_layers, d_model, d_ff, n_units, n_modules, vocab = MODELS[model]
    d_ff += 2 * d_model if sparse_qkv else 0
    d_lowrank = default_d_lowrank(d_model, n_units)
    attention = n_sparse_qkv(d_model, n_modules) if sparse_qkv else 4 * d_model**2
    readout = (
        n_multiplicative(d_model, READOUT_MODULES, vocab // READOUT_MODULES)
        if sparse_readout
        else d_model * vocab
    )
    return {
        "attention": n_layers * attention,
        "feed-forward": n_layers * 2 * d_model * d_ff // (n_units if sparse_ff else 1),
        "controller": n_layers * d_lowrank * (d_model + d_ff) if sparse_ff else 0,
        "readout": readout,
    }
