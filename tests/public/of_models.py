"""A small case of every public function and layer of efftx.models.

The parameters have the dtype of what is passed in, and all of them change with ``w``: so its
gradient is that of every parameter, in one direction. Tokens are the signs of x; through them goes
no gradient. A name that is no function of arrays has its reason instead of a row.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from efftx import models
from efftx.models import Exact, Sizes, attention_layer, multiplicative
from efftx.models.branch import keys_for
from efftx.models.norm import init_norm
from tests.public.rows import Elsewhere, Numbers, Row

SIZES = Sizes(n_layers=1, d_model=4, d_ff=8, n_heads=2, d_head=2, max_len=8, vocab=5)
KEY = jax.random.key(0)
SPARSE = attention_layer(Exact(), multiplicative(2))
W, X, TOKENS = (1,), ("L", 4), ("L",)


def like(tree, w):
    """Its parameters in the dtype of w, a little larger where w is; spread where w's mesh is so."""
    scale = 1 + 0.1 * jnp.asarray(w)[0]
    floats = lambda p: jnp.issubdtype(jnp.asarray(p).dtype, jnp.floating)  # noqa: E731
    scaled = lambda p: over(scale, jnp.asarray(p, scale.dtype) * scale)  # noqa: E731
    return jax.tree.map(lambda p: scaled(p) if floats(p) else p, tree)


def over(scale, p):
    """By its last axis over the Explicit one of the mesh on which the scale lies, if there is."""
    mesh = jax.typeof(scale).sharding.mesh
    if not mesh.explicit_axes or p.ndim == 0 or p.shape[-1] % 2:
        return p
    spec = PartitionSpec(*[None] * (p.ndim - 1), *mesh.explicit_axes)
    return jax.sharding.reshard(p, NamedSharding(mesh, spec))


def tokens(x):
    """One of the five for each number."""
    return 2 * (jnp.asarray(x) > 0).astype(jnp.int32) + jnp.arange(len(x)) % 3


def layer(init, key=KEY):
    """What a layer makes of x."""
    made = init(jax.random.key(1), SIZES)
    return lambda w, x: like(made, w)(jnp.asarray(x), key)[0]


def logits(model, key=KEY):
    return lambda w, x: like(model, w)(tokens(x), key)


def of_pair(model):
    """From a source of as many tokens."""
    return lambda w, x: like(model, w)(tokens(-jnp.asarray(x)), tokens(x), KEY)


def after_prompt(w, x):
    return models.prefill(like(STEPWISE, w), tokens(x), capacity=len(x))[0]


def last_logits(w, x):
    return like(TRANSFORMER, w)(tokens(x))[-1]


def after_step(w, x):
    model, read = like(STEPWISE, w), tokens(x)
    _, state = models.prefill(model, read, capacity=len(x) + 1)
    return models.step(model, state, read[0])[0]


def last_of_longer(w, x):
    read = tokens(x)
    return like(TRANSFORMER, w)(jnp.append(read, read[0]))[-1]


def greedy(w, x):
    return models.generate(like(TRANSFORMER, w), tokens(x), 2, KEY, temperature=0)


def greedy_without_cache(w, x):
    read = tokens(x)
    for _ in range(2):
        read = jnp.append(read, like(TRANSFORMER, w)(read)[-1].argmax())
    return read[-2:]


def residual(which):
    """The blocks of a Transformer, without embedding and readout."""
    blocks = TRANSFORMER.blocks
    return lambda w, x: which(like(blocks, w), jnp.asarray(x), keys_for(blocks, KEY))


def of_parameters(w, x):
    """Taken out by name and put back, into a model that had none."""
    blank = jax.tree.map(jnp.zeros_like, TRANSFORMER)
    return models.with_parameters(blank, models.named_parameters(like(TRANSFORMER, w)))(tokens(x))


def seen(look, model, *key):
    return lambda w, x: look(like(model, w), tokens(x), *key)


def across(w, x):
    return models.cross_attention_maps(like(BOTH, w), tokens(-jnp.asarray(x)), tokens(x))


def with_adapters(put):
    """The model with changes that depend on w."""
    return lambda w, x: put(TRANSFORMER, like(ADAPTERS, w))(tokens(x))


SPARSE = attention_layer(Exact(), multiplicative(2))
LSH = {"n_hashes": 2, "chunk_len": 4, "n_buckets": 2}
TRANSFORMER = models.transformer(KEY, SIZES)
STEPWISE = models.by_layer(TRANSFORMER)
REFORMER = models.reformer(KEY, SIZES, attention=models.lsh(**LSH), ff_chunk_len=2)
SCALING = models.scaling_transformer(KEY, SIZES, n_units=4, attention=SPARSE, readout_modules=2)
TERRAFORMER = models.terraformer(KEY, SIZES, n_units=4, attention=SPARSE, readout_modules=2, sru=2)
LLAMA = models.llama(KEY, SIZES, n_groups=1)
ADAPTERS = jax.tree.map(jnp.cos, models.init_adapters(KEY, TRANSFORMER, "blocks.*", rank=1))
BOTH = models.encoder_decoder(KEY, SIZES)
WITH_ENCODER = models.terraformer_with_encoder(KEY, SIZES, n_units=4, readout_modules=2, sru=2)
NORM = init_norm(SIZES)

LAYERS = {
    "FeedForward": models.init_feed_forward,
    "Chunked": models.chunked(models.init_feed_forward, 2),
    "SparseFeedForward": models.sparse_feed_forward(n_units=4),
    "with_sru": models.with_sru(models.init_feed_forward, 2),
    "Exact": attention_layer(Exact()),
    "Blocked": attention_layer(models.Blocked(block_len=2)),
    "Local": models.local(chunk_len=2),
    "Shared": attention_layer(models.Shared()),
    "Hashed": models.lsh(**LSH),
    "Multiplicative": SPARSE,
    "Grouped": attention_layer(Exact(), models.grouped(1)),
    "GatedFeedForward": models.init_gated_feed_forward,
}
TWINS = {"Chunked": "FeedForward", "Blocked": "Exact"}

ROWS = {name: Row(layer(init), (W, X)) for name, init in LAYERS.items()}
ROWS |= {name: replace(ROWS[name], twin=ROWS[twin].call) for name, twin in TWINS.items()}
BLOCK = (8 + 4 * 4 * 4) + (8 + 4 * 8 + 8 + 8 * 4 + 4)  # norm, q k v out; norm, there and back
READOUT = 8 + 4 * 5
Whole = partial(Row, second=False)

ROWS |= {
    "LayerNorm": Row(lambda w, x: like(NORM, w)(jnp.asarray(x)), (W, X)),
    "RMSNorm": Row(lambda w, x: like(models.RMSNorm(NORM.scale), w)(jnp.asarray(x)), (W, X)),
    "plain_residual": Row(residual(models.plain_residual), (W, X)),
    "checkpointed_residual": Row(
        residual(models.checkpointed_residual), (W, X), residual(models.plain_residual)
    ),
    "llama": Whole(logits(LLAMA), (W, TOKENS)),
    "adapted": Whole(with_adapters(models.adapted), (W, TOKENS), with_adapters(models.merged)),
    "merged": Whole(with_adapters(models.merged), (W, TOKENS)),
    "unmerged": Whole(with_adapters(models.unmerged), (W, TOKENS)),
    "reversible_residual": Row(residual(models.reversible_residual), (W, X)),
    "transformer": Row(logits(TRANSFORMER), (W, TOKENS)),
    "by_layer": Whole(logits(STEPWISE), (W, TOKENS), logits(TRANSFORMER)),
    "recurrent": Whole(logits(models.recurrent(KEY, SIZES)), (W, TOKENS)),
    "reformer": Whole(logits(REFORMER), (W, TOKENS)),
    "with_rounds": Whole(logits(models.with_rounds(REFORMER, None)), (W, TOKENS)),
    "scaling_transformer": Whole(logits(SCALING), (W, TOKENS)),
    "terraformer": Whole(logits(TERRAFORMER), (W, TOKENS)),
    "encoder_decoder": Whole(of_pair(BOTH), (W, TOKENS)),
    "terraformer_with_encoder": Whole(of_pair(WITH_ENCODER), (W, TOKENS)),
    "in_eight_bits": Row(logits(models.in_eight_bits(TRANSFORMER)), (W, TOKENS), gradients=False),
    "prefill": Whole(after_prompt, (W, TOKENS), last_logits),
    "step": Whole(after_step, (W, TOKENS), last_of_longer),
    "generate": Row(greedy, (W, TOKENS), greedy_without_cache, gradients=False),
    "with_parameters": Whole(of_parameters, (W, TOKENS), logits(TRANSFORMER)),
    "hardened": Whole(logits(models.hardened(SCALING)), (W, TOKENS), logits(SCALING, None)),
    "attention_maps": Whole(seen(models.attention_maps, TRANSFORMER), (W, TOKENS)),
    "attention_vectors": Whole(seen(models.attention_vectors, TRANSFORMER), (W, TOKENS)),
    "cross_attention_maps": Whole(across, (W, TOKENS)),
    "chosen_units": Row(seen(models.chosen_units, SCALING), (W, TOKENS), gradients=False),
    "n_parameters": Numbers(
        lambda: models.n_parameters(TRANSFORMER), (5 + 8) * 4 + BLOCK + READOUT
    ),
    "weights_read": Numbers(lambda: models.weights_read(TRANSFORMER), 8 + BLOCK + READOUT),
    "bytes_read": Numbers(lambda: models.bytes_read(TRANSFORMER), 4 * (8 + BLOCK + READOUT)),
}

# Which row goes through the others.
ROWS |= {
    name: Elsewhere(row)
    for row, names in {
        "transformer": "Block Branch LanguageModel Sizes language_model NOTHING Extra",
        "encoder_decoder": "Across EncoderDecoder Source",
        "plain_residual": "Residual",
        "Exact": "Attention Dense Kind Layer Softmax attention_layer dense",
        "FeedForward": "init_feed_forward",
        "Chunked": "chunked",
        "Grouped": "grouped",
        "GatedFeedForward": "init_gated_feed_forward",
        "llama": "TiedModel",
        "adapted": "Adapted",
        "tests/models/test_adapters.py": "in_bits init_adapters",
        "tests/models/test_gguf.py": "BytePairs pretrained_file read_byte_pairs read_gguf",
        "SparseFeedForward": "sparse_feed_forward",
        "Multiplicative": "multiplicative",
        "Local": "local",
        "Hashed": "lsh",
        "with_parameters": "named_parameters",
        "tests/models/test_files.py": "load_model save_model",
        "tests/models/test_many_heads.py": "lsh_attention_of_heads",
    }.items()
    for name in names.split()
}
