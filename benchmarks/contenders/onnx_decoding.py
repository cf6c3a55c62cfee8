"""The matrices of a dense decoder in onnxruntime, in eight or four bits; lives where no jax is.

`MatMulNBits` is what its quantizers write for a model that is to run on a CPU: codes in blocks of
32 with a scale each, activations rounded to eight bits on the way. Norms, the softmax and the cache
are left out, so a whole decoder would be a little slower.
"""

from collections.abc import Callable

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SEED, BLOCK, DOMAIN = 0, 32, "com.microsoft"
LARGEST_ERROR = 0.03  # relative, of a product against float32 weights


class Graph:
    """Nodes and weights of one token's way through the model."""

    def __init__(self, bits: int):
        self.bits, self.nodes, self.weights = bits, [], []
        self.random = np.random.default_rng(SEED)

    def node(self, kind: str, *inputs: str, **how) -> str:
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **how))
        return name

    def product(self, x: str, k: int, n: int) -> str:
        """x times a matrix of k × n random codes, with one scale for all blocks alike."""
        n_blocks, size = k // BLOCK, BLOCK * self.bits // 8
        codes = self.random.integers(0, 256, (n, n_blocks, size), np.uint8)
        scales = np.full(n * n_blocks, k**-0.5 / 2 ** (self.bits - 2), np.float32)
        names = [self.weight(codes), self.weight(scales)]
        shape = {"K": k, "N": n, "bits": self.bits, "block_size": BLOCK}
        return self.node("MatMulNBits", x, *names, domain=DOMAIN, accuracy_level=4, **shape)

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def session(self, width: int, out: str) -> onnxruntime.InferenceSession:
        row = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])
        end = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "token", [row], [end], self.weights)
        imports = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers)


def layer(graph: Graph, x: str, d_model: int, d_ff: int) -> str:
    """Four projections and a feed-forward layer; heads are added up where attention would be."""
    q, k, v = (graph.product(x, d_model, d_model) for _ in range(3))
    heads = graph.node("Add", graph.node("Add", q, k), v)
    x = graph.node("Add", x, graph.product(heads, d_model, d_model))
    hidden = graph.node("Relu", graph.product(x, d_model, d_ff))
    return graph.node("Add", x, graph.product(hidden, d_ff, d_model))


def products(sizes: dict, depths: list[int], bits: int, n_tokens: int) -> dict[str, Callable]:
    """The runs of a worker: by depth, so many tokens through so many layers and the readout."""
    check(bits)
    return {str(depth): tokens(sizes, depth, bits, n_tokens) for depth in depths}


def tokens(sizes: dict, depth: int, bits: int, n_tokens: int) -> Callable:
    graph, d_model, x = Graph(bits), sizes["d_model"], "x"
    for _ in range(depth):
        x = layer(graph, x, d_model, sizes["d_ff"])
    session = graph.session(d_model, graph.product(x, d_model, sizes["vocab"]))
    vector = np.random.default_rng(SEED).normal(size=(1, d_model)).astype(np.float32)

    def run():
        for _ in range(n_tokens):
            session.run(None, {"x": vector})

    return run


def check(bits: int, k: int = 256, n: int = 64) -> None:
    """A product is that of the codes' numbers in float32, but for the rounded activations."""
    graph = Graph(bits)
    session = graph.session(k, graph.product("x", k, n))
    codes, scales = map(numpy_helper.to_array, graph.weights)
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1)
    numbers = codes.reshape(n, k).astype(np.float32) - 2 ** (bits - 1)
    vector = np.random.default_rng(SEED).normal(size=(1, k)).astype(np.float32)
    right = vector @ (numbers * scales.reshape(n, -1).repeat(BLOCK, axis=1)).T
    (ours,) = session.run(None, {"x": vector})
    error = np.linalg.norm(ours - right) / np.linalg.norm(right)
    assert error < LARGEST_ERROR, f"{bits} bits: off by {error:.3f}"
