"""Checks of the sparsity hunt: what is broken, and what is sound in another way."""

from efftx.check import hunt_sparsity_sound as sound
from efftx.check.hunts import Hunt

CHOICE = "np.argmax(scores, axis=-1)"
HIDDEN = "w1[block, units]) + b1[block, units]"
RELU = "np.maximum(hidden, 0)"
OUT = "w2[block, units]) + b2"
SPREAD = 'y = np.einsum("li,is,im->lsm", x, d, e)'
PADDED = "np.pad(y, ((2, 0), (1, 1), (0, 0)))"
KERNEL = "kernel[i, j] for i, j"
EACH = "convolved(y, kernel) for kernel in kernels]"
ADDED = "    return sum("

test_choice = Hunt(
    name="test_choice",
    module=sound,
    function="feed_forward",
    broken={
        "it still adds the noise of training to the scores": [
            (CHOICE, "np.argmax(scores + np.random.default_rng(1).gumbel(size=scores.shape), -1)"),
        ],
        "it takes every n-th unit for a block, not neighbours": [
            (CHOICE, "np.argmax(scores.reshape(len(x), c2.shape[2], -1), axis=1)"),
        ],
        "what the first block chooses is on in all blocks": [
            (CHOICE, "np.argmax(scores[:, :1], axis=-1) + np.zeros(c2.shape[1], int)"),
        ],
        "what the first position chooses is on at all positions": [
            (CHOICE, "np.argmax(scores[:1], axis=-1) + np.zeros((len(x), 1), int)"),
        ],
        "the score farthest from 0 wins, and not the highest": [
            (CHOICE, "np.argmax(abs(scores), axis=-1)"),
        ],
        "where no score of a block is above 0 its first unit is on": [
            (CHOICE, "np.argmax(np.maximum(scores, 0), axis=-1)"),
        ],
        "it keeps a unit's number in eight bits: 128 becomes −128": [
            (CHOICE, f"{CHOICE}.astype(np.int8).astype(int)"),
        ],
        "a chosen unit counts as much as its probability, not fully": [
            (RELU, f"{RELU} * softmax(scores, axis=-1).max(-1)"),
        ],
        "it takes b1 of each block's first unit": [("b1[block, units]", "b1[block, 0]")],
        "it adds b2 once for every block": [(OUT, f"{OUT} * len(block)")],
        "a unit that comes out negative is let through": [(RELU, "hidden")],
        "its last block is never on": [(RELU, f"{RELU} * (block < len(block) - 1)")],
    },
    sound={
        "computes all units and sets those that are off to 0": [
            ('hidden = np.einsum("ld,lbd->lb", x, ', 'hidden = np.einsum("ld,bnd->lbn", x, '),
            (HIDDEN, "w1) + b1"),
            (RELU, f"{RELU} * np.eye(c2.shape[2])[units]"),
            ('"lb,lbd->ld"', '"lbn,bnd->ld"'),
            (OUT, "w2) + b2"),
        ],
        "counts its units through all blocks": [
            ("w1[block, units]", "w1.reshape(-1, x.shape[1])[block * c2.shape[2] + units]"),
        ],
        "chooses by the softmax of the scores": [(CHOICE, "softmax(scores, axis=-1).argmax(-1)")],
    },
)

test_projections = Hunt(
    name="test_projections",
    module=sound,
    function="project",
    broken={
        "a position sees the one behind it": [(PADDED, PADDED.replace("(2, 0)", "(1, 1)"))],
        "it writes the modules across: number m of module s lands in another place": [
            (SPREAD, f"{SPREAD}.swapaxes(1, 2).reshape(len(x), d.shape[1], -1)"),
        ],
        "it multiplies two sums, x D and x E, where it should sum products": [
            (SPREAD, "y = (x @ d)[:, :, None] * (x @ e)[:, None, :]"),
        ],
        "its kernels are turned round in time": [(KERNEL, KERNEL.replace("[i", "[2 - i"))],
        "its kernels are turned round along the modules": [
            (KERNEL, KERNEL.replace(" j]", " 2 - j]")),
        ],
        "its kernels have rows and columns exchanged": [(KERNEL, KERNEL.replace("j]", "j].T"))],
        "its kernels have positions and modules exchanged": [
            (KERNEL, KERNEL.replace("[i, j]", "[j, i]")),
        ],
        "its last module has the first one for a neighbour": [
            (
                PADDED,
                "np.pad(np.concatenate([y[:, -1:], y, y[:, :1]], 1), ((2, 0), (0, 0), (0, 0)))",
            ),
        ],
        "before the text it sees the end of the text": [
            (
                PADDED,
                "np.pad(np.concatenate([y, y, y]), ((0, 0), (1, 1), (0, 0)))"
                "[2 * length - 2 :][: length + 2]",
            ),
        ],
        "before the text it sees the first position, twice more": [
            (PADDED, "np.pad(np.concatenate([y[:1], y[:1], y]), ((0, 0), (1, 1), (0, 0)))"),
        ],
        "it looks back two and four positions, not one and two": [
            (PADDED, PADDED.replace("(2, 0)", "(4, 0)")),
            ("padded[i : i + length", "padded[2 * i : 2 * i + length"),
        ],
        "a module sees the two before it and none behind": [
            (PADDED, PADDED.replace("(1, 1)", "(2, 0)")),
        ],
        "keys and values have changed places": [
            (EACH, EACH.replace("kernels", "kernels[np.array([0, 2, 1])]")),
        ],
        "queries, keys and values all come from the queries' kernel": [
            (EACH, EACH.replace("(y, kernel)", "(y, kernels[0])")),
        ],
    },
    sound={
        "multiplies D with E first": [
            (SPREAD, 'y = np.einsum("li,ism->lsm", x, d[:, :, None] * e[:, None, :])'),
        ],
        "takes the kernel's last row first": [
            ("for i in range(3) for j", "for i in (2, 1, 0) for j"),
        ],
    },
)

KEPT = "put(keys, n, k), put(values, n, v)"
THERE = "np.arange(len(keys)) <= n"
BEHIND = "(window[1:], keys, values)"
STARTED = "cache, outs = ("
test_decoding = Hunt(
    name="test_decoding",
    module=sound,
    function="decode",
    broken={
        "a token does not see itself": [
            (THERE, "(np.arange(len(keys)) < n) | (np.arange(len(keys)) + n == 0)"),
        ],
        "slots that are still empty get a share of the softmax": [(THERE, "True")],
        "one slot that is still empty gets a share of the softmax": [(THERE, f"{THERE} + 1")],
        "a token's value is kept, but too late for the token itself": [
            ("softmax(scores, axis=-1), values)", "softmax(scores, axis=-1), cache[2])"),
        ],
        "the convolution always looks back to nothing": [(BEHIND, "(history, keys, values)")],
        "the two rows of the history change places": [(BEHIND, "(window[:0:-1], keys, values)")],
        "the history keeps its oldest row, and forgets the one behind it": [
            (BEHIND, "(window[np.array([0, 2])], keys, values)"),
        ],
        "from the ninth token on the first ones are written over": [
            (KEPT, "put(keys, n % 8, k), put(values, n % 8, v)"),
            (THERE, "np.arange(len(keys)) <= np.minimum(n, 7)"),
        ],
        "the last slot of a full cache is never used": [
            (KEPT, KEPT.replace(" n,", " min(n, len(keys) - 2),")),
            (THERE, "np.arange(len(keys)) <= min(n, len(keys) - 2)"),
        ],
        "it divides by √(S·M), and not by √M": [
            ('"sm,ksm->sk", q, keys) / q.shape[-1]', '"sm,ksm->sk", q, keys) / q.size'),
        ],
        "the softmax runs over the heads": [
            ("softmax(scores, axis=-1), values)", "softmax(scores, axis=0), values)"),
        ],
        "it writes the heads across: number m of head s lands in another place": [
            ("return out.reshape(-1)", "return out.T.reshape(-1)"),
        ],
        "it remembers the text that it has decoded before": [
            (STARTED, f"{STARTED}LEFT.get(nothing.shape[1:], "),
            ("*nothing.shape[1:])), nothing", "*nothing.shape[1:]))), nothing"),
            (
                "    return np.stack(outs)",
                "    LEFT[d.shape[1], e.shape[1]] = cache[0]\n    return np.stack(outs)",
            ),
            ("def decode(", "LEFT = {}\n\n\ndef decode("),
        ],
    },
    sound={
        "keeps its newest key and value first": [
            (KEPT, "np.concatenate([k[None], keys[:-1]]), np.concatenate([v[None], values[:-1]])"),
        ],
        "keeps its keys divided by √M": [
            (KEPT, KEPT.replace(" k)", " k / k.shape[-1] ** 0.5)")),
            ('"sm,ksm->sk", q, keys) / q.shape[-1] ** 0.5', '"sm,ksm->sk", q, keys)'),
        ],
    },
)

SOFT = "soft = jax.nn.softmax(scores, axis=-1)\n    hard"
HARD = "jnp.argmax(scores + noise, axis=-1)"
STRAIGHT = "hard + (soft - jax.lax.stop_gradient(soft))"

test_gradient = Hunt(
    name="test_gradient",
    module=sound,
    function="mask",
    broken={
        "no gradient comes through": [(STRAIGHT, "hard")],
        "the gradient comes through twice": [
            (STRAIGHT, "hard + 2 * (soft - jax.lax.stop_gradient(soft))"),
        ],
        "only the unit that is on gets a gradient": [
            (STRAIGHT, "hard + hard * (soft - jax.lax.stop_gradient(soft))"),
        ],
        "the gradient has the wrong sign": [
            (STRAIGHT, "hard - (soft - jax.lax.stop_gradient(soft))"),
        ],
        "the gradient passes as if there were no softmax": [
            (STRAIGHT, "hard + (scores - jax.lax.stop_gradient(scores))"),
        ],
        "the gradient is that of the softmax of score + noise": [
            (SOFT, SOFT.replace("(scores", "(scores + noise")),
        ],
        "the gradient is that of a softmax over all blocks": [
            (SOFT, SOFT.replace("axis=-1", "axis=(0, 1)")),
        ],
        "a score gets nothing of what it takes from the other units of its block": [
            (
                SOFT,
                "soft = jax.nn.softmax(scores, axis=-1)\n    rest = jax.lax.stop_gradient(soft)\n"
                "    soft = (1 - rest) * rest * scores\n    hard",
            ),
        ],
        "the mask is the soft one": [(STRAIGHT, "soft")],
        "the soft mask is left on top of the hard one": [(STRAIGHT, "hard + soft")],
        "the noise plays no part": [(HARD, HARD.replace(" + noise", ""))],
        "the noise is added to the probabilities": [(HARD, HARD.replace("scores +", "soft +"))],
        "one unit is on in all, not one in each block": [
            (
                "    return hard +",
                "    hard *= hard * (scores + noise) == (scores + noise).max()\n    return hard +",
            ),
        ],
    },
    sound={
        "adds the soft mask before it takes it off: 1 comes out as 1 ± rounding": [
            (STRAIGHT, "(hard + soft) - jax.lax.stop_gradient(soft)"),
        ],
        "finds the highest by comparing": [
            (
                "jax.nn.one_hot(jnp.argmax(scores + noise, axis=-1), scores.shape[-1])",
                "1.0 * (scores + noise == (scores + noise).max(axis=-1, keepdims=True))",
            ),
        ],
    },
)
