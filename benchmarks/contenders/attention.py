"""Causal attention of 8 heads, as each library does it: name → builder.

A builder takes the configuration and returns {"forward": run, "both": run}: a run does one forward
pass, or forward and backward, to the end. Libraries are imported inside, since the peers live in an
environment without jax, and efftx in one without torch.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

N_HEADS, D_HEAD, CHUNK_LEN, SEED = 8, 64, 64, 0


def jax_runs(attend, n_inputs: int, length: int) -> dict:
    """Runs of a jax function of n_inputs (n_heads, length, d_head) arrays."""
    import jax

    keys = jax.random.split(jax.random.key(SEED), n_inputs + 1)
    *inputs, g_out = (jax.random.normal(key, (N_HEADS, length, D_HEAD)) for key in keys)
    forward = jax.jit(attend)
    both = jax.jit(lambda g_out, *inputs: jax.vjp(attend, *inputs)[1](g_out))
    return {
        "forward": lambda: jax.block_until_ready(forward(*inputs)),
        "both": lambda: jax.block_until_ready(both(g_out, *inputs)),
    }


def efftx_lsh(length: int, n_hashes: int) -> dict:
    import jax

    from efftx.attention import lsh_attention
    from efftx.memory import map_heads

    keys = jax.random.split(jax.random.key(SEED), N_HEADS)

    def head(qk, v, key):
        return lsh_attention(qk, v, key=key, n_hashes=n_hashes, chunk_len=CHUNK_LEN)

    return jax_runs(lambda qk, v: map_heads(head, qk, v, keys), 2, length)


def efftx_blocked(length: int, n_hashes: int) -> dict:
    from efftx.attention import blocked_attention
    from efftx.memory import map_heads

    head = functools.partial(blocked_attention, causal=True)
    return jax_runs(lambda q, k, v: map_heads(head, q, k, v), 3, length)


def jax_dot_product(length: int, n_hashes: int) -> dict:
    import jax
    import jax.numpy as jnp

    def attend(q, k, v):  # its layout is (length, n_heads, d_head)
        q, k, v = (jnp.swapaxes(x, 0, 1) for x in (q, k, v))
        return jnp.swapaxes(jax.nn.dot_product_attention(q, k, v, is_causal=True), 0, 1)

    return jax_runs(attend, 3, length)


def torch_runs(attend, shapes: list[tuple[int, ...]]) -> dict:
    """Runs of a torch function of random inputs with these shapes."""
    import torch

    torch.manual_seed(SEED)
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]

    def forward():
        with torch.no_grad():
            attend(*inputs)

    def both():
        for x in inputs:
            x.grad = None
        out = attend(*inputs)
        out.backward(torch.ones_like(out))

    return {"forward": forward, "both": both}


def torch_flash(length: int, n_hashes: int) -> dict:
    from torch.nn.functional import scaled_dot_product_attention

    attend = functools.partial(scaled_dot_product_attention, is_causal=True)
    return torch_runs(attend, [(1, N_HEADS, length, D_HEAD)] * 3)


def reformer_pytorch(length: int, n_hashes: int) -> dict:
    from reformer_pytorch import LSHAttention

    lsh = LSHAttention(bucket_size=CHUNK_LEN, n_hashes=n_hashes, causal=True, dropout=0.0)
    return torch_runs(lambda qk, v: lsh(qk, v)[0], [(N_HEADS, length, D_HEAD)] * 2)


def huggingface(length: int, n_hashes: int) -> dict:
    import torch
    from transformers import ReformerConfig
    from transformers.models.reformer.modeling_reformer import LSHSelfAttention

    config = ReformerConfig(
        num_attention_heads=N_HEADS,
        attention_head_size=D_HEAD,
        hidden_size=N_HEADS * D_HEAD,
        lsh_attn_chunk_length=CHUNK_LEN,
        num_hashes=n_hashes,
        lsh_attention_probs_dropout_prob=0.0,
        is_decoder=True,
        hash_seed=SEED,
    )
    lsh = LSHSelfAttention(config)
    # Only the attention is compared: its two projections are taken out.
    lsh.query_key, lsh.value = torch.nn.Identity(), torch.nn.Identity()
    attend = lambda x: lsh(x, use_cache=False).hidden_states  # noqa: E731
    return torch_runs(attend, [(1, length, N_HEADS * D_HEAD)])


class Contender(NamedTuple):
    """Who takes part, and what the comparison must know of it."""

    builder: Callable
    n_gradients: int  # of an output's size each
    hashes: bool
    peer: bool  # lives in the environment of benchmarks/requirements.txt


CONTENDERS = {
    "efftx LSH": Contender(efftx_lsh, n_gradients=2, hashes=True, peer=False),
    "reformer-pytorch": Contender(reformer_pytorch, n_gradients=2, hashes=True, peer=True),
    "Hugging Face": Contender(huggingface, n_gradients=1, hashes=True, peer=True),
    "efftx blocked": Contender(efftx_blocked, n_gradients=3, hashes=False, peer=False),
    "jax.nn": Contender(jax_dot_product, n_gradients=3, hashes=False, peer=False),
    "torch flash": Contender(torch_flash, n_gradients=3, hashes=False, peer=True),
}
