"""A Llama as large as the big dense decoder, of random codes, in llama.cpp; lives where no jax is.

Llama's feed-forward layer has three matrices where ours has two: d_ff is two thirds, so that both
read equally many weights. Its files hold 32 codes of eight or four bits (Q8_0, Q4_0) beside a scale
in float16.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

SEED, BLOCK, CONTEXT = 0, 32, 64
KINDS = {8: gguf.GGMLQuantizationType.Q8_0, 4: gguf.GGMLQuantizationType.Q4_0}
PARTS = "attn", "ffn"
SMALL = {"d_model": 128, "d_ff": 384, "n_heads": 4, "vocab": 200}
LARGEST_ERROR = 0.03  # in a log probability; eight bits of the activations move it
END_OF_TEXT = 0


def llama(sizes: dict, depths: list[int], bits: int, n_tokens: int) -> dict[str, Callable]:
    """The runs of a worker: by depth, so many tokens, one after the other."""
    check(bits)
    sizes = {**sizes, "d_ff": round(2 / 3 * sizes["d_ff"] / BLOCK) * BLOCK}
    return {str(depth): tokens(sizes, depth, bits, n_tokens) for depth in depths}


def tokens(sizes: dict, depth: int, bits: int, n_tokens: int) -> Callable:
    server = served(random_weights(sizes, depth, bits), sizes, depth, bits)
    asked = {"prompt": [1], "n_predict": n_tokens, "temperature": 0, "cache_prompt": False}
    asked["ignore_eos"] = True

    def run() -> None:
        answer = server.handle_completions(asked)
        assert answer["usage"]["completion_tokens"] == n_tokens

    return run


# Weights --------------------------------------------------------------------------------------


def random_weights(sizes: dict, depth: int, bits: int) -> dict[str, np.ndarray]:
    """Name → blocks of random codes with their scale, as the file holds them, or ones of a norm."""
    random, d, d_ff = np.random.default_rng(SEED), sizes["d_model"], sizes["d_ff"]
    shapes = {"token_embd": (sizes["vocab"], d), "output": (sizes["vocab"], d)}
    for n in range(depth):
        shapes |= {f"blk.{n}.attn_{which}": (d, d) for which in ("q", "k", "v", "output")}
        shapes |= {f"blk.{n}.ffn_{which}": (d_ff, d) for which in ("gate", "up")}
        shapes |= {f"blk.{n}.ffn_down": (d, d_ff)}
    norms = ["output_norm", *(f"blk.{n}.{part}_norm" for n in range(depth) for part in PARTS)]
    weights = {name: random_blocks(random, *shape, bits) for name, shape in shapes.items()}
    return weights | {name: np.ones(d, np.float32) for name in norms}


def random_blocks(random: np.random.Generator, n: int, k: int, bits: int) -> np.ndarray:
    """(n, bytes of a row): numbers of variance 1/k."""
    scale = np.float16(k**-0.5 * 12**0.5 / 2**bits).tobytes()
    blocks = random.integers(0, 256, (n, k // BLOCK, 2 + BLOCK * bits // 8), np.uint8)
    blocks[..., :2] = np.frombuffer(scale, np.uint8)
    return blocks.reshape(n, -1)


def served(weights: dict, sizes: dict, depth: int, bits: int) -> xllamacpp.Server:
    """llama.cpp with these weights, on two threads; it reads its file before this returns."""
    params = xllamacpp.CommonParams()
    with tempfile.TemporaryDirectory() as folder:
        params.model.path = str(Path(folder) / "random.gguf")
        write(params.model.path, weights, sizes, depth, bits)
        params.n_ctx, params.warmup, params.n_parallel = CONTEXT, False, 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
        return xllamacpp.Server(params)


def write(path: str, weights: dict, sizes: dict, depth: int, bits: int) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(depth)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(sizes["d_model"])
    writer.add_feed_forward_length(sizes["d_ff"])
    writer.add_head_count(sizes["n_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"<{n}>" for n in range(sizes["vocab"])])
    writer.add_token_types([gguf.TokenType.NORMAL] * sizes["vocab"])
    writer.add_token_merges(["< >"])
    writer.add_eos_token_id(END_OF_TEXT)
    writer.add_add_bos_token(False)
    for name, array in weights.items():
        kind = None if array.dtype == np.float32 else KINDS[bits]
        writer.add_tensor(f"{name}.weight", array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# Check ----------------------------------------------------------------------------------------


def check(bits: int, token: int = 7) -> None:
    """One layer's log probabilities after one token are those of its weights in float32.

    A token alone is at position 0, where nothing is turned, and attends to itself.
    """
    weights = random_weights(SMALL, 1, bits)
    asked = {"prompt": [token], "n_predict": 1, "temperature": 0, "logprobs": 5}
    answer = served(weights, SMALL, 1, bits).handle_completions(asked)
    (said,) = answer["choices"][0]["logprobs"]["content"]
    w = {
        name: a if a.dtype == np.float32 else gguf.dequantize(a, KINDS[bits])
        for name, a in weights.items()
    }
    x = w["token_embd"][token]
    x = x + w["blk.0.attn_output"] @ (w["blk.0.attn_v"] @ normed(x))
    gate, up = (w[f"blk.0.ffn_{which}"] @ normed(x) for which in ("gate", "up"))
    x = x + w["blk.0.ffn_down"] @ (gate / (1 + np.exp(-gate)) * up)
    logits = w["output"] @ normed(x)
    right = logits - np.log(np.exp(logits).sum())
    for other in said["top_logprobs"]:
        error = abs(other["logprob"] - right[other["id"]])
        assert error < LARGEST_ERROR, f"{bits} bits: off by {error:.3f}"


def normed(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean() + 1e-5)
