"""A training step of a Reformer language model, as each library does it.

All have the same sizes, text, float32, Adam, no dropout, and read as many bytes as they predict. A
builder makes model and optimiser and returns {"step": run}: a run is one step, forward, backward
and update, and returns the loss in nats. What it does not need for the next step it gives back:
its gradients. Libraries are imported inside, since the peers live in an environment without jax,
and efftx in one without torch.
"""

import math
import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

N_LAYERS, D_MODEL, D_FF, N_HEADS, D_HEAD, VOCAB = 6, 256, 1024, 4, 64, 256
N_HASHES, CHUNK_LEN, RATE, SEED = 2, 64, 1e-3, 0
FF_CHUNK_LEN = 4096  # positions in a chunk of the feed-forward layer and of the loss


def some_text(length: int) -> np.ndarray:
    """One byte more than is read. No time here depends on what the bytes are."""
    return np.random.default_rng(SEED).integers(VOCAB, size=length + 1)


def axial_shape(length: int) -> tuple[int, int]:
    """Two factors of a power of two, as equal as can be: the peers want them to multiply to it."""
    first = 2 ** math.ceil(math.log2(length) / 2)
    return first, length // first


def efftx_step(length: int) -> dict:
    from functools import partial

    import jax
    import jax.numpy as jnp
    import optax

    from efftx.models import Sizes, lsh, reformer
    from efftx.training.losses import bits_per_byte

    sizes = Sizes(N_LAYERS, D_MODEL, D_FF, N_HEADS, D_HEAD, max_len=length, vocab=VOCAB)
    attention = lsh(n_hashes=N_HASHES, chunk_len=CHUNK_LEN)
    adam, loss = optax.adam(RATE), partial(bits_per_byte, chunk_len=FF_CHUNK_LEN)

    @partial(jax.jit, donate_argnames="state")
    def train_step(state, window, number):
        model, moments = state
        key = jax.random.fold_in(jax.random.key(SEED), number)
        value, gradients = jax.value_and_grad(loss)(model, window, key)
        updates, moments = adam.update(gradients, moments, model)
        return (optax.apply_updates(model, updates), moments), value * jnp.log(2)

    model = reformer(jax.random.key(SEED), sizes, attention=attention, ff_chunk_len=FF_CHUNK_LEN)
    state, window, number = (model, adam.init(model)), some_text(length).astype(np.uint8), 0

    def step() -> float:
        nonlocal state, number
        state, value = jax.block_until_ready(train_step(state, window, number))
        number += 1
        return float(value)

    return {"step": step}


def torch_step(model, length: int, logits_of: Callable = lambda result: result) -> dict:
    """Steps of a torch model; of what it returns for (1, length) tokens, these are the logits."""
    import torch

    adam = torch.optim.Adam(model.parameters(), lr=RATE)
    for parameter in model.parameters():  # a step that changes nothing, but makes the moments
        parameter.grad = torch.zeros_like(parameter)
    adam.step()
    adam.zero_grad(set_to_none=True)
    text = torch.as_tensor(some_text(length))
    model.train()

    def step() -> float:
        logits = logits_of(model(text[None, :-1]))
        loss = torch.nn.functional.cross_entropy(logits[0], text[1:])
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        return loss.item()

    return {"step": step}


def reformer_pytorch(length: int) -> dict:
    import torch
    from reformer_pytorch import ReformerLM

    torch.manual_seed(SEED)
    model = ReformerLM(
        num_tokens=VOCAB,
        dim=D_MODEL,
        depth=N_LAYERS,
        max_seq_len=length,
        heads=N_HEADS,
        dim_head=D_HEAD,
        bucket_size=CHUNK_LEN,
        n_hashes=N_HASHES,
        ff_mult=D_FF // D_MODEL,
        ff_activation=torch.nn.ReLU,  # GELU, its own choice, costs more
        ff_chunks=max(length // FF_CHUNK_LEN, 1),  # their number, not their length
        causal=True,
        axial_position_emb=True,  # otherwise it turns queries and keys, which costs more
        axial_position_shape=axial_shape(length),
    )
    return torch_step(model, length)


def huggingface(length: int) -> dict:
    import torch
    from transformers import ReformerConfig, ReformerModelWithLMHead

    torch.manual_seed(SEED)
    config = ReformerConfig(
        attn_layers=["lsh"] * N_LAYERS,
        num_attention_heads=N_HEADS,
        attention_head_size=D_HEAD,
        hidden_size=D_MODEL,
        feed_forward_size=D_FF,
        vocab_size=VOCAB,
        lsh_attn_chunk_length=CHUNK_LEN,
        num_hashes=N_HASHES,
        max_position_embeddings=length,
        axial_pos_shape=axial_shape(length),
        axial_pos_embds_dim=(D_MODEL // 4, D_MODEL - D_MODEL // 4),
        hidden_dropout_prob=0.0,
        lsh_attention_probs_dropout_prob=0.0,
        chunk_size_feed_forward=min(FF_CHUNK_LEN, length),
        chunk_size_lm_head=0,  # chunks would be joined: all logits, and then all of them again
        is_decoder=True,
        use_cache=False,  # with it, the causal mask is left out
    )
    return torch_step(ReformerModelWithLMHead(config), length, operator.attrgetter("logits"))


class Contender(NamedTuple):
    """Who takes part."""

    builder: Callable
    peer: bool  # lives in the environment of benchmarks/requirements.txt


CONTENDERS = {
    "efftx": Contender(efftx_step, peer=False),
    "reformer-pytorch": Contender(reformer_pytorch, peer=True),
    "Hugging Face": Contender(huggingface, peer=True),
}
