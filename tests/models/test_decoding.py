"""A step gives what the whole model gives at this position, for every model there is."""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import register_dataclass

from efftx.models import (
    NOTHING,
    Blocked,
    Layer,
    Shared,
    Sizes,
    attention_layer,
    decoding,
    encoder_decoder,
    generate,
    language_model,
    local,
    lsh,
    plain_residual,
    prefill,
    recurrent,
    reformer,
    reversible_residual,
    step,
    transformer,
    with_sru,
)
from efftx.models.sampling import nucleus, pick

SIZES = Sizes(n_layers=2, d_model=16, d_ff=24, n_heads=2, d_head=8, max_len=40, vocab=30)
TOKENS = np.random.default_rng(0).integers(SIZES.vocab, size=23)
SOURCE, MASK = TOKENS[::-1][:11], np.arange(11) < 8
KEY = jax.random.key(1)
NEW = partial(reformer, jax.random.key(0), SIZES)
OLD = partial(transformer, jax.random.key(0), SIZES)
WIDE = lsh(n_hashes=2, chunk_len=32, n_buckets=4)  # no bucket can have more than chunk_len members
MODELS = {
    "full": OLD,
    "blocked, feed-forward in chunks": lambda: OLD(kind=Blocked(), ff_chunk_len=4),
    "full, reversible": lambda: OLD(residual=reversible_residual),
    "shared QK": lambda: OLD(kind=Shared()),
    "shared QK, reversible": lambda: OLD(kind=Shared(), residual=reversible_residual),
    "LSTM": lambda: recurrent(jax.random.key(0), SIZES),
    "local": lambda: NEW(attention=local(chunk_len=4), residual=plain_residual),
    "local, reversible": lambda: NEW(attention=local(chunk_len=4)),
    "LSH, plain": lambda: NEW(attention=WIDE, residual=plain_residual),
    "LSH": lambda: NEW(attention=WIDE, positions="learned"),
    "local and rotary LSH": lambda: NEW(
        attention=(local(chunk_len=4), lsh(n_hashes=3, chunk_len=32, n_buckets=6, rotary=True)),
        positions="none",
    ),
}


@cache
def a_model(kind: str):
    return MODELS[kind]()


@partial(jax.jit, static_argnames="n_prompt")
def step_by_step(model, tokens, source=None, *, n_prompt: int):
    """The logits after the prompt and after each further token."""
    how = {"capacity": len(tokens) + 3, "key": KEY, "source": source}
    logits, state = prefill(model, tokens[:n_prompt], **how)
    more = jax.lax.scan(
        lambda state, token: step(model, state, token)[::-1], state, tokens[n_prompt:]
    )
    return jnp.concatenate([logits[None], more[1]])


@pytest.mark.parametrize("n_prompt", [1, 14])
@pytest.mark.parametrize("kind", MODELS)
def test_every_step_is_the_whole_models(kind, n_prompt):
    model = a_model(kind)
    whole = jax.jit(lambda model: model(TOKENS, KEY))(model)
    ours = step_by_step(model, TOKENS, n_prompt=n_prompt)
    np.testing.assert_allclose(ours, whole[n_prompt - 1 :], atol=1e-5)


@pytest.mark.parametrize("residual", [plain_residual, reversible_residual])
def test_an_encoder_decoder_goes_on_from_its_source(residual):
    model = encoder_decoder(jax.random.key(0), SIZES, residual=residual)
    source = model.encode(SOURCE, key_mask=MASK)
    whole = model.decode(TOKENS, source)
    ours = step_by_step(model, TOKENS, source, n_prompt=2)
    np.testing.assert_allclose(ours, whole[1:], atol=1e-5)


def test_a_local_layer_remembers_two_chunks():
    _, state = prefill(a_model("local"), TOKENS, capacity=40)
    _, (k, v) = state.caches[0]  # a dense projection has no history
    assert k.shape == v.shape == (SIZES.n_layers, SIZES.n_heads, 8, SIZES.d_head)


def test_crowded_buckets_are_where_a_step_sees_more():
    """With two buckets and chunks of 2 the whole model's window misses what a step finds."""
    model = NEW(attention=lsh(chunk_len=2, n_buckets=2))
    whole = model(TOKENS, KEY)
    gap = np.abs(step_by_step(model, TOKENS, n_prompt=1) - whole).max(axis=1)
    assert gap[:2].max() < 1e-5
    assert gap.max() > 1e-3


def test_the_state_keeps_its_shapes():
    """So that one compiled step serves all positions, in the memory of the one before."""
    _, before = prefill(a_model("LSH"), TOKENS, capacity=30, key=KEY)
    _, after = step(a_model("LSH"), before, jnp.int32(3))
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), state) for state in (before, after)]
    assert shapes[0] == shapes[1]
    assert int(after.position) == 24


def test_a_bfloat16_model_decodes_in_its_dtype():
    model = jax.tree.map(lambda x: x.astype(jnp.bfloat16), a_model("local, reversible"))
    whole = model(TOKENS)
    ours = step_by_step(model, TOKENS, n_prompt=5)
    assert ours.dtype == whole.dtype == jnp.bfloat16
    np.testing.assert_allclose(*(x.astype(jnp.float32) for x in (ours, whole[4:])), atol=0.02)


# Choosing tokens ------------------------------------------------------------------------------


def test_greedy_is_the_likeliest_token_again_and_again():
    model, prompt = a_model("LSH"), TOKENS[:6]
    ours = generate(model, prompt, 8, KEY, temperature=0)
    text, model_key = list(prompt), jax.random.split(KEY)[0]
    for _ in range(8):
        text.append(int(jnp.argmax(model(np.array(text), model_key)[-1])))
    assert ours.tolist() == text[6:]


def test_after_the_stop_token_there_is_only_the_stop_token():
    model, prompt = a_model("full"), TOKENS[:6]
    free = generate(model, prompt, 12, KEY).tolist()
    stop = free[3]
    ours = generate(model, prompt, 12, KEY, stop=stop).tolist()
    end = free.index(stop)
    assert ours == free[: end + 1] + [stop] * (11 - end)


def test_a_batch_is_its_examples():
    model, prompts = a_model("full"), np.stack([TOKENS[:6], TOKENS[6:12]])
    keys = jax.random.split(KEY)
    stops = jax.vmap(lambda prompt, key: generate(model, prompt, 7, key, stop=3))(prompts, keys)
    for ours, prompt, key in zip(stops, prompts, keys, strict=True):
        np.testing.assert_array_equal(ours, generate(model, prompt, 7, key, stop=3))


def test_every_token_is_drawn_with_a_key_of_its_own():
    """A model that finds all tokens alike would else write one and the same again and again."""
    model = a_model("full")
    indifferent = replace(model, readout=replace(model.readout, w=0 * model.readout.w))
    tokens = generate(indifferent, TOKENS[:2], 30, KEY)
    assert len(set(tokens.tolist())) > 10
    assert (tokens != generate(indifferent, TOKENS[:2], 30, jax.random.key(2))).any()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [([3, 30], r"tokens must lie in 0 … 29 \(vocab 30\); got 3 … 30"), ([-1, 2], "got -1 … 2")],
)
def test_tokens_outside_the_vocabulary_are_refused(prompt, message):
    for kind in ("full", "LSH", "LSTM"):
        with pytest.raises(ValueError, match=message):
            generate(a_model(kind), np.array(prompt), 3, KEY)
    with pytest.raises(ValueError, match=r"stop must lie in 0 … 29 \(vocab 30\); got 31"):
        generate(a_model("full"), TOKENS[:2], 3, KEY, stop=31)


def test_who_reads_a_source_wants_one_and_who_does_not_refuses_it():
    model = encoder_decoder(jax.random.key(0), SIZES)
    with pytest.raises(ValueError, match=r"reads a source first: pass source=model.encode"):
        generate(model, TOKENS[:2], 3, KEY)
    source = model.encode(SOURCE)
    for kind in ("full", "LSH", "LSTM"):
        with pytest.raises(ValueError, match="reads no source"):
            generate(a_model(kind), TOKENS[:2], 3, KEY, source=source)


@register_dataclass
@dataclass(frozen=True)
class Mix(Layer):
    """A layer that looks at several positions, and does not say how it is stepped."""

    w: Any

    def __call__(self, x, key=None, extra=NOTHING, replay=None):
        return jnp.cumsum(x, axis=0) * self.w, None


def test_a_layer_that_mixes_positions_without_a_step_does_not_generate():
    init = lambda key, sizes: Mix(jnp.ones(sizes.d_model))  # noqa: E731
    for feed_forward in (init, with_sru(init)):
        model = language_model(
            jax.random.key(0), SIZES, attention_layer(), feed_forward, plain_residual
        )
        with pytest.raises(ValueError, match="Mix cannot generate: it looks at several positions"):
            generate(model, TOKENS[:2], 3, KEY)


def drawn(logits, **how):
    keys = jax.random.split(jax.random.key(0), 4000)
    tokens = jax.vmap(lambda key: pick(logits, key, **how))(keys)
    return np.bincount(tokens, minlength=len(logits)) / len(keys)


def test_tokens_are_drawn_with_their_probabilities():
    logits = jnp.log(jnp.array([0.1, 0.6, 0.3]))
    np.testing.assert_allclose(drawn(logits), [0.1, 0.6, 0.3], atol=0.03)
    colder = np.array([0.1, 0.6, 0.3]) ** 2
    np.testing.assert_allclose(drawn(logits, temperature=0.5), colder / colder.sum(), atol=0.03)
    np.testing.assert_allclose(drawn(logits, top_p=0.8), [0, 2 / 3, 1 / 3], atol=0.03)
    assert drawn(logits, temperature=0).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("top_p", "stays"),
    [(0.1, [1]), (0.6, [1]), (0.61, [1, 2]), (0.95, [0, 1, 2]), (1, [0, 1, 2, 3])],
)
def test_the_nucleus_is_the_fewest_tokens_that_suffice(top_p, stays):
    logits = jnp.log(jnp.array([0.08, 0.602, 0.3, 0.018]))
    assert np.flatnonzero(np.isfinite(nucleus(logits, top_p))).tolist() == stays


def test_a_new_length_of_the_prompt_is_another_program():
    """As `generate` says."""
    sizes = Sizes(n_layers=1, d_model=8, d_ff=8, n_heads=2, d_head=4, max_len=16, vocab=5)
    model, before = transformer(KEY, sizes), decoding._generate._cache_size()
    for length in (3, 4, 4, 3):
        generate(model, jnp.zeros(length, jnp.int32), 2, KEY)
    assert decoding._generate._cache_size() == before + 2
