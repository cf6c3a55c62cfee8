"""What models refuse, and that they say what came and what would be right."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import (
    Sizes,
    attention_vectors,
    chosen_units,
    encoder_decoder,
    lsh_attention_of_heads,
    named_parameters,
    prefill,
    recurrent,
    transformer,
    with_parameters,
)
from efftx.models.pretrained import small_text_model

SIZES = Sizes(n_layers=1, d_model=8, d_ff=8, n_heads=2, d_head=4, max_len=10, vocab=20)
MODEL = transformer(jax.random.key(0), SIZES)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((2, 5), int), r"\(length,\) vector of integers; got int64\[2, 5\].*jax\.vmap"),
        (np.array(3), r"vector of integers; got int64\[\]"),
        (np.zeros(5), r"vector of integers; got float64\[5\]"),
        (np.zeros(5, bool), r"vector of integers; got bool\[5\]"),
        ([1, 2, 3], "vector of integers; got a list"),
        (np.zeros(0, int), r"takes 1 to 10 tokens \(max_len\); got 0"),
        (np.zeros(11, int), r"takes 1 to 10 tokens \(max_len\); got 11"),
        (np.array([1, 20]), r"tokens must lie in 0 … 19 \(vocab 20\); got 1 … 20"),
        (np.array([-1, 2]), r"got -1 … 2"),
    ],
)
def test_tokens(tokens, message):
    with pytest.raises(ValueError, match=message):
        MODEL(tokens)


def test_too_many_tokens_are_refused_under_a_trace_too():
    with pytest.raises(ValueError, match="got 11"):
        jax.jit(lambda tokens: MODEL(tokens))(jnp.zeros(11, int))


@pytest.mark.parametrize("name", ["n_layers", "d_head", "max_len", "vocab"])
@pytest.mark.parametrize("size", [0, -3, 2.5, "8", True])
def test_sizes(name, size):
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1; got"):
        Sizes(**{name: size})


def test_parameters_that_are_not_the_models():
    arrays = {name: np.asarray(array) for name, array in named_parameters(MODEL).items()}
    without = {name: array for name, array in arrays.items() if name != "readout.w"}
    with pytest.raises(ValueError, match=r"no array for readout\.w"):
        with_parameters(MODEL, without)
    with pytest.raises(ValueError, match=r"nothing in the tree is called bias"):
        with_parameters(MODEL, {**arrays, "bias": np.zeros(3)})
    with pytest.raises(ValueError, match=r"readout\.w must have shape \(8, 20\); got float32\[20"):
        with_parameters(MODEL, {**arrays, "readout.w": arrays["readout.w"].T})


def test_looking_inside_a_model_whose_stream_runs_otherwise():
    def no_residual(blocks, x, keys, extra):
        return x

    with pytest.raises(
        ValueError, match=r"this model's says nothing of them: <function .*no_residual"
    ):
        attention_vectors(replace(MODEL, residual=no_residual), np.zeros(5, int))


def test_units_of_a_model_without_controllers():
    with pytest.raises(ValueError, match="this model has no controllers"):
        chosen_units(MODEL, np.zeros(5, int))
    with pytest.raises(ValueError, match="looking inside needs blocks of one kind"):
        chosen_units(replace(MODEL, blocks=(MODEL.blocks,) * 2), np.zeros(5, int))


def test_a_pretrained_model_that_does_not_exist():
    with pytest.raises(ValueError, match="kind must be 'shared_qk' or 'plain'; got 'reformer'"):
        small_text_model("reformer")


def test_masks_and_tokens_of_an_encoder_decoder():
    model, tokens = encoder_decoder(jax.random.key(0), SIZES), np.zeros(5, int)
    with pytest.raises(ValueError, match=r"key_mask must have shape \(5,\).*got bool\[4\]"):
        model(tokens, tokens, key_mask=np.ones(4, bool))
    with pytest.raises(ValueError, match=r"key_mask must be bool.*got int64\[5\]"):
        model(tokens, tokens, key_mask=tokens)
    for source, target in [(np.zeros(11, int), tokens), (tokens, np.zeros(11, int))]:
        with pytest.raises(ValueError, match=r"takes 1 to 10 tokens \(max_len\); got 11"):
            model(source, target)
    for source, target in [(np.array([20]), tokens), (tokens, np.array([20]))]:
        with pytest.raises(ValueError, match=r"tokens must lie in 0 … 19 \(vocab 20\); got 20"):
            model(source, target)


@pytest.mark.parametrize("model", [MODEL, recurrent(jax.random.key(0), SIZES)])
def test_masks_of_a_language_model(model):
    tokens = np.zeros(5, int)
    with pytest.raises(ValueError, match=r"key_mask must have shape \(5,\).*got bool\[4\]"):
        model(tokens, key_mask=np.ones(4, bool))
    with pytest.raises(ValueError, match=r"key_mask must be bool.*got int64\[5\]"):
        model(tokens, key_mask=tokens)


def test_a_source_that_is_none():
    model = encoder_decoder(jax.random.key(0), SIZES)
    with pytest.raises(ValueError, match=r"which is a Source; got int64\[5\]"):
        prefill(model, np.zeros(2, int), capacity=5, source=np.zeros(5, int))


def test_tokens_of_a_recurrent_model():
    model = recurrent(jax.random.key(0), SIZES)
    with pytest.raises(ValueError, match=r"takes 1 to inf tokens \(max_len\); got 0"):
        model(np.zeros(0, int))
    with pytest.raises(ValueError, match=r"tokens must lie in 0 … 19 \(vocab 20\); got 20"):
        model(np.array([20]))
    assert model(np.zeros(11, int)).shape == (11, 20)  # no length is too much


def test_arrays_of_many_heads_have_a_batch_and_a_mask_for_each_example():
    x, key = jnp.ones((2, 5, 3, 4)), jax.random.key(0)
    with pytest.raises(ValueError, match=r"qk must be \(batch, length, n_heads, d\)"):
        lsh_attention_of_heads(x[0], x, key=key)
    with pytest.raises(ValueError, match=r"v must be .* with the axes of qk"):
        lsh_attention_of_heads(x, x[:, :4], key=key)
    with pytest.raises(ValueError, match=r"key_mask must be \(2, 5\)"):
        lsh_attention_of_heads(x, x, key=key, key_mask=jnp.ones(5, bool))
