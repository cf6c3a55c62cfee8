"""Parameters by name: there and back again, and how many."""

import jax
import numpy as np

from efftx.models import Shared, Sizes, n_parameters, named_parameters, transformer, with_parameters

SIZES = Sizes(n_layers=2, d_model=16, d_ff=24, n_heads=2, d_head=4, max_len=40, vocab=50)


def test_names_are_paths_that_a_reader_can_follow():
    model = transformer(jax.random.key(0), SIZES)
    named = named_parameters(model)
    assert (
        named["blocks.attention.layer.projection.w_in"]
        is model.blocks.attention.layer.projection.w_in
    )
    assert named["readout.norm.scale"] is model.readout.norm.scale


def test_a_model_survives_the_way_through_names():
    model = transformer(jax.random.key(0), SIZES, kind=Shared())
    shapes_only = jax.eval_shape(lambda: transformer(jax.random.key(0), SIZES, kind=Shared()))
    arrays = {name: np.asarray(array) for name, array in named_parameters(model).items()}
    tokens = np.arange(20)
    np.testing.assert_array_equal(with_parameters(shapes_only, arrays)(tokens), model(tokens))


def test_the_count_is_the_formulas():
    d, d_ff, width, vocab, max_len = 16, 24, 2 * 4, 50, 40
    outside = vocab * d + max_len * d + 2 * d + d * vocab
    block = 2 * (2 * d) + 4 * d * width + (d * d_ff + d_ff) + (d_ff * d + d)
    assert n_parameters(transformer(jax.random.key(0), SIZES)) == outside + 2 * block
    shared = transformer(jax.random.key(0), SIZES, kind=Shared())
    assert n_parameters(shared) == outside + 2 * (block - d * width)
