"""The quiz at the end of the course: ten questions, whose answers the package computes when asked.

No answer is written down anywhere. Each is what ledger, FLOP count or the counts of sparse layers
return for the sizes in the question, and an answer is right that is near enough.

    quiz.ask(1)            # the question, with a box for a number
    quiz.grade(1, 12.5)    # the same without a box: (right or not, what is said)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import ipywidgets as widgets
import jax
import jax.numpy as jnp
from IPython.display import Markdown, display

from efftx.memory import init_low_rank, quantize_blockwise
from efftx.memory.bert import bert_large
from efftx.memory.flops import forward_flops, step_flops
from efftx.memory.ledger import Step, activation_bytes, max_batch, state_bytes
from efftx.sparsity import n_blocks_of, n_dense_attention, n_sparse_qkv
from efftx.validation import require

WIDE = Step(n_layers=12, d_model=768, d_ff=3072, n_heads=12, d_head=64, vocab=256, length=4096)
LONG = Step(
    n_layers=6,
    d_model=256,
    d_ff=1024,
    n_heads=4,
    d_head=64,
    vocab=256,
    length=2**20,
    attention="lsh",
    reversible=True,
)


@dataclass(frozen=True)
class Question:
    """What is asked, in which unit, what computes the answer, and how near is near enough."""

    text: str
    unit: str
    answer: Callable[[], float | int]
    because: str  # said with the right answer
    hint: str  # said with a wrong one
    chapter: int
    tolerance: float = 0.05  # relative


def state_of_bert() -> float | int:
    return sum(state_bytes(bert_large(512)).values()) / 1e9


def scores_of_a_layer() -> float | int:
    """What one layer more keeps of scores, before and after the softmax."""
    one_more = replace(WIDE, n_layers=WIDE.n_layers + 1)
    more, less = (activation_bytes(step)["attention scores"] for step in (one_more, WIDE))
    return (more - less) / 2**30


def streams_of_a_million() -> float | int:
    return activation_bytes(LONG)["streams"] / 2**30


def batch_of_bert() -> float | int:
    return max_batch(bert_large(128, bytes_per_parameter=28), 11.2 * 2**30).batch


def keys_of_a_query() -> float | int:
    """From the FLOPs of eight rounds: two products, of two FLOPs for each key and number."""
    one, nine = (forward_flops(replace(LONG, n_hashes=n)) for n in (1, 9))
    per_key = 2 * 2 * LONG.n_layers * LONG.length * LONG.n_heads * LONG.d_head
    return (nine - one) / per_key


def price_of_reversal() -> float | int:
    return 100 * (step_flops(replace(WIDE, reversible=True)) / step_flops(WIDE) - 1)


def bytes_in_eight_bits() -> float | int:
    numbers = jnp.zeros(2**16)
    return quantize_blockwise(numbers, block_len=256).nbytes / numbers.size


def weights_of_units() -> float | int:
    return 2 * 1024 * n_blocks_of(4096, 64)  # a column and a row for each block's unit


def share_of_qkv() -> float | int:
    return 100 * n_sparse_qkv(1024, 16) / n_dense_attention(1024)


def numbers_of_an_adapter() -> float | int:
    matrix = jax.ShapeDtypeStruct((4096, 4096), jnp.float32)
    adapter = jax.eval_shape(partial(init_low_rank, rank=8), jax.random.key(0), matrix)
    return adapter.a.size + adapter.b.size


QUESTIONS = (
    Question(
        "BERT-Large has 335 million parameters. How much do they take while Adam trains them in "
        "float32, with gradients and running means, and without any activation?",
        "GB",
        state_of_bert,
        "four float32 for each parameter",
        "Count the numbers that exist for each parameter, and four bytes for each.",
        2,
    ),
    Question(
        "Exact attention, one text of 4,096 tokens, 12 heads, float32. How much of its scores does "
        "*one* layer keep for the backward pass, before the softmax and after it?",
        "GiB",
        scores_of_a_layer,
        "two arrays of heads × L × L",
        "A score for each head and pair of positions, in two arrays; 1 GiB is 2³⁰ bytes.",
        2,
    ),
    Question(
        "A reversible stack, 2²⁰ tokens, width 256, float32. How much do the streams take that are "
        "kept for the backward pass?",
        "GiB",
        streams_of_a_million,
        "two streams of L × d, whatever the depth",
        "How many streams are there, and what is kept of the layers between?",
        3,
    ),
    Question(
        "By the ledger of chapter 02, with 28 bytes for each parameter: how many examples of 128 "
        "tokens of BERT-Large does a step take in 11.2 GiB?",
        "examples",
        batch_of_bert,
        "what the model leaves, divided by what an example keeps",
        "The model takes 28 bytes for each of 335 million parameters; an example of 128 tokens "
        "takes some 430 MB.",
        2,
    ),
    Question(
        "LSH attention, eight rounds, chunks of 64. With how many keys is a query multiplied?",
        "keys",
        keys_of_a_query,
        "its own chunk and the one before, in each round",
        "How many chunks does a query see in a round?",
        8,
    ),
    Question(
        "How many per cent more FLOPs has a training step of 12 layers if they are reversible? "
        "(With exact attention and a small vocabulary.)",
        "%",
        price_of_reversal,
        "one more forward pass beside three",
        "A step is one forward pass and a backward pass that costs two. What is added?",
        3,
    ),
    Question(
        "How many bytes does a number take in eight bits, with a float32 scale for each 256?",
        "bytes",
        bytes_in_eight_bits,
        "one, and a 256th part of four",
        "The scale is shared, and it is not nothing.",
        5,
        tolerance=0.005,
    ),
    Question(
        "A sparse feed-forward layer, width 1,024, d_ff 4,096, one unit of each 64 on. How many "
        "numbers of its two matrices does a token read?",
        "numbers",
        weights_of_units,
        "a column of 1,024 and a row of 1,024 for each unit that is on",
        "How many units are on? Each has a column in one matrix and a row in the other.",
        10,
    ),
    Question(
        "Sparse QKV with 16 modules, width 1,024, kernels of 3: how many per cent of dense "
        "attention's four matrices are its parameters?",
        "%",
        share_of_qkv,
        "S · d + d² / S for the multiplicative layer, and three convolutions of 9 · (d / S)²",
        "One multiplicative layer for all three, a small convolution each, no output projection.",
        11,
    ),
    Question(
        "An adapter of rank 8 on a matrix of 4,096 × 4,096: how many numbers are trained?",
        "numbers",
        numbers_of_an_adapter,
        "8 · (4,096 + 4,096)",
        "It is two narrow matrices. One has 4,096 rows, the other 4,096 columns.",
        13,
    ),
)


def question(n: int) -> Question:
    """The question of this number, from 1; raises ValueError if there is none."""
    count = len(QUESTIONS)
    whole = isinstance(n, int) and not isinstance(n, bool)
    require(whole and 1 <= n <= count, f"n must be a question's number, 1 to {count}; got {n!r}.")
    return QUESTIONS[n - 1]


def grade(n: int, answer: float | int) -> tuple[bool, str]:
    """Whether this answers question n, and what there is to say.

    The answer is computed now; right is what differs by no more than the question's tolerance.
    Raises ValueError for a question that there is not, and for an answer that is no number.
    """
    asked = question(n)
    number = isinstance(answer, int | float) and not isinstance(answer, bool)
    require(number, f"answer must be a number; got {answer!r}.")
    right = asked.answer()
    if abs(answer - right) <= asked.tolerance * abs(right):
        return True, f"Right: {in_words(right)} {asked.unit}, {asked.because}."
    return False, f"Not yet. {asked.hint} (Chapter {asked.chapter:02})"


def in_words(number: float | int) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.4g}"


def ask(n: int) -> widgets.FloatText:
    """Show question n, with a box for the answer; what is typed is graded beneath it."""
    asked, look = question(n), {"layout": {"width": "14em"}}
    box, reply = widgets.FloatText(description=asked.unit, **look), widgets.Label()

    def on_answer(change) -> None:
        reply.value = grade(n, change["new"])[1]

    box.observe(on_answer, "value")
    display(Markdown(f"**{n}.** {asked.text} *(in {asked.unit}; chapter {asked.chapter:02})*"))
    display(widgets.HBox([box, reply]))
    return box
