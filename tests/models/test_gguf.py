"""GGUF files: a tiny one that the test writes, and the pretrained model where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import (
    BytePairs,
    adapted,
    merged,
    n_parameters,
    pretrained_file,
    read_byte_pairs,
    read_gguf,
)
from efftx.models.byte_pairs import letters_of_bytes

gguf = pytest.importorskip("gguf", reason="the package gguf, which reads these files, is missing")

D, D_FF, HEADS, GROUPS, LAYERS, VOCAB, BASE = 128, 96, 4, 2, 2, 270, 500.0
TOKENS = np.arange(9) * 31 % VOCAB
SHAPES = {  # (out, in), as ggml has them
    "attn_q": (D, D),
    "attn_k": (D // 2, D),
    "attn_v": (D // 2, D),
    "attn_output": (D, D),
    "ffn_gate": (D_FF, D),
    "ffn_up": (D_FF, D),
    "ffn_down": (D, D_FF),
}
PIECES = [*letters_of_bytes().values(), "Ġt", "he", "Ġthe", "<end>"]


def arrays(tied: bool) -> dict:
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    named = {"token_embd.weight": normal(VOCAB, D), "output_norm.weight": 1 + 0.1 * normal(D)}
    named |= {} if tied else {"output.weight": normal(VOCAB, D)}
    for i in range(LAYERS):
        named |= {f"blk.{i}.{n}.weight": normal(*s) * s[1] ** -0.5 for n, s in SHAPES.items()}
        named |= {f"blk.{i}.{n}_norm.weight": 1 + 0.1 * normal(D) for n in ("attn", "ffn")}
    return named


def write(path, named: dict, kind=None, architecture: str = "llama", vocabulary: str = "gpt2"):
    """A GGUF file; ``kind`` is how matrices of layers are stored, float32 by default."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(D_FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_context_length(128)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(BASE)
    writer.add_tokenizer_model(vocabulary)
    writer.add_token_list(PIECES)
    writer.add_token_types([1] * (len(PIECES) - 1) + [3])
    writer.add_token_merges(["Ġ t", "h e", "Ġt he"])
    for name, array in named.items():
        if kind is not None and array.ndim == 2 and name.startswith("blk"):
            writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits_by_hand(named: dict) -> np.ndarray:
    """The definition in numpy, with pairs (2i, 2i + 1) turned as llama.cpp does."""
    rms = lambda x, scale: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale  # noqa: E731
    x, d_head = named["token_embd.weight"][TOKENS], D // HEADS
    angle = np.arange(len(x))[:, None] * BASE ** (-2 * np.arange(d_head // 2) / d_head)
    turn = np.exp(1j * angle)[:, None]  # (length, 1, pairs)

    def turned(heads):
        pairs = heads[..., ::2] + 1j * heads[..., 1::2]
        return np.stack([(pairs * turn).real, (pairs * turn).imag], -1).reshape(heads.shape)

    for i in range(LAYERS):
        w = {n: named[f"blk.{i}.{n}.weight"].T for n in SHAPES}
        h = rms(x, named[f"blk.{i}.attn_norm.weight"])
        q, k, v = ((h @ w[f"attn_{n}"]).reshape(len(x), -1, d_head) for n in ("q", "k", "v"))
        q, k, v = turned(q), turned(k).repeat(2, 1), v.repeat(2, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(d_head)
        scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", weights, v).reshape(len(x), -1) @ w["attn_output"]
        h = rms(x, named[f"blk.{i}.ffn_norm.weight"])
        gate = h @ w["ffn_gate"]
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w["ffn_up"])) @ w["ffn_down"]
    table = named.get("output.weight", named["token_embd.weight"])
    return rms(x, named["output_norm.weight"]) @ table.T


@pytest.mark.parametrize("tied", [True, False])
def test_the_logits_are_those_of_the_definition(tied, tmp_path):
    named = arrays(tied)
    model = read_gguf(write(tmp_path / "tiny.gguf", named))
    np.testing.assert_allclose(
        jax.jit(lambda model: model(TOKENS))(model), logits_by_hand(named), atol=2e-4
    )
    assert n_parameters(model) == sum(array.size for array in named.values())


@pytest.mark.parametrize("bits", [8, 4])
def test_few_bits_stay_near(bits, tmp_path):
    path = write(tmp_path / "tiny.gguf", arrays(True))
    whole, few = read_gguf(path), read_gguf(path, bits=bits)
    run = jax.jit(lambda model: adapted(model, {})(TOKENS))
    error = jnp.linalg.norm(run(few) - run(whole)) / jnp.linalg.norm(run(whole))
    assert error < {8: 0.03, 4: 0.3}[bits]
    sizes = [sum(x.nbytes for x in jax.tree.leaves(m.blocks)) for m in (few, whole)]
    assert sizes[0] < {8: 0.29, 4: 0.2}[bits] * sizes[1]


def test_four_bits_of_a_file_stay_as_they_are(tmp_path):
    kind = gguf.GGMLQuantizationType.Q4_1
    path = write(tmp_path / "tiny.gguf", arrays(True), kind)
    blocks, few = (read_gguf(path, bits=bits).blocks for bits in (32, 4))
    few = merged(few, {})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), blocks, few)


def test_byte_pairs(tmp_path):
    pieces = read_byte_pairs(write(tmp_path / "tiny.gguf", arrays(True)))
    assert [pieces.pieces[t] for t in pieces.encode("he the th")] == ["he", "Ġthe", "Ġt", "h"]
    for text in ("", "Über 12 naïve  cafés…\n\n\tend_of  ", "a²½ x", "🙂"):
        assert pieces.decode(pieces.encode(text)) == text
    assert pieces.decode([len(pieces) - 1]) == ""


def test_digits_and_words_are_cut_as_smollm_does():
    pieces = BytePairs(tuple(letters_of_bytes().values()), ())
    assert len(pieces.encode("it's 2024")) == 9


# Bad files --------------------------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_gguf(tmp_path / "none.gguf")


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and more", b"GG"])
def test_no_gguf(content, tmp_path):
    (tmp_path / "other.gguf").write_bytes(content)
    with pytest.raises(ValueError, match=r"other.gguf is no GGUF file: it begins with b'"):
        read_gguf(tmp_path / "other.gguf")


@pytest.mark.parametrize("part", [0.999, 0.8, 0.03, 0.0001])
def test_a_file_that_is_cut_short(part, tmp_path):
    whole = write(tmp_path / "tiny.gguf", arrays(True)).read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: max(4, int(part * len(whole)))])
    for read in (read_gguf, read_byte_pairs):
        with pytest.raises(ValueError, match=r"cut.gguf is cut short"):
            read(tmp_path / "cut.gguf")


def test_another_architecture(tmp_path):
    path = write(tmp_path / "other.gguf", arrays(True), architecture="gemma")
    with pytest.raises(ValueError, match=r"other.gguf is a model of the architecture 'gemma'"):
        read_gguf(path)


def test_an_array_is_missing(tmp_path):
    named = arrays(True)
    del named["blk.1.ffn_up.weight"]
    with pytest.raises(ValueError, match=r"has no array called blk.1.ffn_up.weight"):
        read_gguf(write(tmp_path / "tiny.gguf", named))


def test_another_vocabulary(tmp_path):
    path = write(tmp_path / "tiny.gguf", arrays(True), vocabulary="llama")
    with pytest.raises(ValueError, match="a vocabulary of the kind 'llama', not byte pairs"):
        read_byte_pairs(path)


def test_other_bits(tmp_path):
    with pytest.raises(ValueError, match="bits must be 32 or 8 or 4; got 5"):
        read_gguf(write(tmp_path / "tiny.gguf", arrays(True)), bits=5)


# The pretrained model ---------------------------------------------------------------------------

installed = pytest.mark.skipif(
    pretrained_file() is None, reason="`make pretrained` was not called: there is no SmolLM2-135M"
)
PROMPT = "The capital of France is Paris, and the capital of Italy is"


@installed
def test_it_knows_something():
    pieces, model = read_byte_pairs(pretrained_file()), read_gguf(pretrained_file(), bits=4)
    logits = jax.jit(lambda model, x: adapted(model, {})(x))(model, np.array(pieces.encode(PROMPT)))
    assert pieces.decode([int(logits[-1].argmax())]) == " Rome"


@installed
def test_as_llama_cpp_token_by_token():
    """Its first choice at every position, but where two are as good as equal; and its tokens."""
    xllamacpp = pytest.importorskip(
        "xllamacpp", reason="`make pretrained` was not called: there is no llama.cpp"
    )
    pieces, model = read_byte_pairs(pretrained_file()), read_gguf(pretrained_file())
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.warmup = str(pretrained_file()), 256, False
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    text = "The with statement is used to wrap 12 blocks, isn't it?\n\n    It"
    asked = {"prompt": text, "n_predict": 16, "temperature": 0, "logprobs": 5}
    answer = server.handle_completions(asked)
    assert answer["usage"]["prompt_tokens"] == len(pieces.encode(text))
    said = answer["choices"][0]["logprobs"]["content"]
    assert len(said) == asked["n_predict"]
    ours = np.array(pieces.encode(text) + [one["id"] for one in said])
    logits = jax.nn.log_softmax(jax.jit(lambda m, x: m(x))(model, ours))[-len(said) - 1 : -1]
    for row, one in zip(logits, said, strict=True):
        for other in one["top_logprobs"]:
            assert float(row[other["id"]]) == pytest.approx(other["logprob"], abs=0.2)
