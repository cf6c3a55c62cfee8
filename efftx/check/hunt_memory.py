"""Checks of the memory hunt: what is broken, and what is sound in another way."""

from efftx.check import hunt_memory_sound as sound
from efftx.check.hunts import Hunt

CHUNK = "x[start : start + chunk_len]"
JOINED = f"jnp.concatenate([f({CHUNK}) for start in starts])"
STARTS = "range(0, len(x), chunk_len)"

test_chunks = Hunt(
    name="test_chunks",
    module=sound,
    function="in_chunks",
    broken={
        "its last chunk is filled up from the beginning when it is short": [
            (CHUNK, "jnp.roll(x, -start, axis=0)[:chunk_len]"),
            ("for start in starts])", "for start in starts])[-len(x) :]"),
        ],
        "a last chunk that is short stays zero": [
            (
                JOINED,
                f"jnp.where((jnp.arange(len(x)) < len(x) // chunk_len * chunk_len)[:, None], "
                f"{JOINED}, 0)",
            ),
        ],
        "a last chunk that is short begins too early, as lax.dynamic_slice has it": [
            (CHUNK, "jax.lax.dynamic_slice_in_dim(x, start, min(chunk_len, len(x)))"),
            ("for start in starts])", "for start in starts])[: len(x)]"),
        ],
        "every chunk is the first one": [
            (CHUNK, "x[:chunk_len]"),
            ("for start in starts])", "for start in starts])[: len(x)]"),
        ],
        "its chunks come in the wrong order, the last one first": [(STARTS, f"{STARTS}[::-1]")],
        "a text that is shorter than a chunk is taken for zeros": [
            (JOINED, f"{JOINED} if chunk_len <= len(x) else f(0 * x)"),
        ],
        "f sees bfloat16, to save some more": [(CHUNK, f"{CHUNK}.astype(jnp.bfloat16) * 1.0")],
        "after sixteen chunks it stops, and leaves zeros": [
            (JOINED, f"jnp.where((jnp.arange(len(x)) < 16 * chunk_len)[:, None], {JOINED}, 0)"),
        ],
    },
    sound={
        "cuts with jnp.split": [
            (
                JOINED,
                "jnp.concatenate([f(rows) for rows in jnp.split(x, list(starts)[1:])])",
            ),
        ],
        "gives a short last chunk rows of zeros, and takes them off again": [
            (CHUNK, "jnp.pad(x, ((0, chunk_len), (0, 0)))[start : start + chunk_len]"),
            ("for start in starts])", "for start in starts])[: len(x)]"),
        ],
    },
)

ABSMAX = "jnp.abs(x).max(axis=-1, keepdims=True)"
SCALES = "jnp.where(absmax > 0, absmax, 1) / 127"
CODES = "jnp.round(x / scales).astype(jnp.int8)"

test_eight_bits = Hunt(
    name="test_eight_bits",
    module=sound,
    function="quantize",
    broken={
        "a row of zeros becomes nan": [
            (f"{CODES}, scales", f"{CODES}, jnp.where(absmax > 0, scales, jnp.nan)"),
        ],
        "all rows share one scale": [
            (ABSMAX, "jnp.abs(x).max() + jnp.zeros((len(x), 1))"),
        ],
        "its scales come from the columns, and not from the rows": [
            (ABSMAX, "jnp.resize(jnp.abs(x).max(axis=0), (len(x), 1))"),
        ],
        "the largest number counts, and not the largest magnitude": [
            (ABSMAX, "x.max(axis=-1, keepdims=True)"),
        ],
        "it rounds towards zero": [(CODES, "jnp.trunc(x / scales).astype(jnp.int8)")],
        "it rounds down": [(CODES, "jnp.floor(x / scales).astype(jnp.int8)")],
        "it divides by 128, so that the largest number becomes −128": [
            (SCALES, "jnp.where(absmax > 0, absmax, 1) / 128"),
            (CODES, "((jnp.round(x / scales) + 128) % 256 - 128).astype(jnp.int8)"),
        ],
        "it uses the codes of seven bits only": [(SCALES, SCALES.replace("127", "63"))],
        "its codes take four bytes each": [(CODES, CODES.replace("int8", "int32"))],
        "negative numbers lose their sign": [
            (CODES, "jnp.round(abs(x) / scales).astype(jnp.int8)")
        ],
        "rows that are very small become zero": [
            (SCALES, "jnp.where(absmax > 0, jnp.maximum(absmax, 1e-3), 1) / 127"),
        ],
    },
    sound={
        "rounds a half away from zero": [
            (CODES, "(jnp.sign(x) * jnp.floor(abs(x) / scales + 0.5)).astype(jnp.int8)"),
        ],
        "gives a row of zeros the scale 0": [
            (f"{CODES}, scales", f"{CODES}, jnp.where(absmax > 0, scales, 0)"),
        ],
    },
)

UNIFORM = "jax.random.uniform(key, x.shape)"
ROUNDED = f"jnp.floor(x + {UNIFORM})"

test_rounding = Hunt(
    name="test_rounding",
    module=sound,
    function="round_stochastically",
    broken={
        "it rounds to the nearest": [(ROUNDED, "jnp.round(x)")],
        "it rounds down": [(ROUNDED, "jnp.floor(x)")],
        "it throws a coin: up and down are equally likely": [
            (ROUNDED, "jnp.floor(x) + jax.random.bernoulli(key, 0.5, x.shape) * (x % 1 > 0)"),
        ],
        "up and down are exchanged: 0.9 becomes 0 nine times in ten": [
            (ROUNDED, f"jnp.floor(x) + ({UNIFORM} > x % 1) * (x % 1 > 0)"),
        ],
        "below zero it draws for the magnitude, and rounds up too often": [
            (ROUNDED, f"jnp.trunc(x) + ({UNIFORM} < x % 1)"),
        ],
        "all numbers share one draw": [(UNIFORM, "jax.random.uniform(key, (1,) * x.ndim)")],
        "the key makes no difference": [
            (UNIFORM, "jax.random.uniform(jax.random.key(0), x.shape)")
        ],
        "it may go to a whole number that is not beside x": [
            (UNIFORM, f"2 * {UNIFORM} - 0.5"),
        ],
        "a whole number does not stay where it is": [
            (ROUNDED, f"{ROUNDED} + (x % 1 == 0) * jax.random.randint(key, x.shape, -1, 2)"),
        ],
        "it rounds twice, to halves first, and to the nearest then": [
            (ROUNDED, f"jnp.round(jnp.floor(2 * x + {UNIFORM}) / 2)"),
        ],
    },
    sound={
        "goes up where a draw is below what is left over": [
            (ROUNDED, f"jnp.floor(x) + ({UNIFORM} < x - jnp.floor(x))"),
        ],
        "counts from above": [(ROUNDED, f"jnp.ceil(x - {UNIFORM})")],
    },
)

UNDO_G = "undone(y2, w_g[n], y1, extra, keys[n, 1], g2)"
UNDO_F = "undone(y1, w_f[n], y2, extra, keys[n, 0], g1)"
AFTER_G = "g1, g_w_g, g_extra = g1 + to_y1, g_w_g.at[n].set(to_w), g_extra + to_extra"
AFTER_F = "g2, g_w_f, g_extra = g2 + to_y2, g_w_f.at[n].set(to_w), g_extra + to_extra"
KEYS = "g_extra = jnp.zeros_like(w_f), jnp.zeros_like(w_g), jnp.zeros_like(extra)\n    keys = "
RETURNED = "return g_w_f, g_w_g, g1, g2, g_extra, None"

test_rebuilt = Hunt(
    name="test_rebuilt",
    module=sound,
    function="rebuilt",
    broken={
        "on the way back it draws anew what is dropped": [
            (UNDO_G, UNDO_G.replace("keys[n, 1]", "jax.random.fold_in(keys[n, 1], 1)")),
            (UNDO_F, UNDO_F.replace("keys[n, 0]", "jax.random.fold_in(keys[n, 0], 1)")),
        ],
        "on the way back F and G drop with each other's keys": [
            (UNDO_G, UNDO_G.replace("keys[n, 1]", "keys[n, 0]")),
            (UNDO_F, UNDO_F.replace("keys[n, 0]", "keys[n, 1]")),
        ],
        "on the way back the keys of the blocks come in the order of the way there": [
            (UNDO_G, UNDO_G.replace("keys[n", "keys[-1 - n")),
            (UNDO_F, UNDO_F.replace("keys[n", "keys[-1 - n")),
        ],
        "no gradient comes to extra": [(RETURNED, RETURNED.replace("g_extra", "0 * g_extra"))],
        "extra gets the gradient of the first block's F alone, which is found last": [
            (AFTER_F, AFTER_F.replace("g_extra + to_extra", "to_extra")),
        ],
        "extra gets nothing from the Gs": [
            (AFTER_G, AFTER_G.replace("g_extra + to_extra", "g_extra")),
        ],
        "F is differentiated at y2, where it ran on x2": [
            (
                "        y2, (to_w, to_y1, to_extra)",
                "        late = y2\n        y2, (to_w, to_y1, to_extra)",
            ),
            (
                "        y1, (to_w, to_y2, to_extra) = ",
                "        _, (to_w, to_y2, to_extra) = "
                "undone(y1, w_f[n], late, extra, keys[n, 0], g1)\n        y1, _ = ",
            ),
        ],
        "F gets the gradient of y1 before G has added its part": [
            (
                "        y2, (to_w, to_y1, to_extra)",
                "        early = g1\n        y2, (to_w, to_y1, to_extra)",
            ),
            (UNDO_F, UNDO_F.replace("g1)", "early)")),
        ],
        "a block is undone in the order in which it was done: F first": [
            (UNDO_G, UNDO_G.replace("y1", "y1 - branch(w_f[n], y2, extra, keys[n, 0])")),
        ],
        "the first block is undone first": [("reversed(range(len(w_f)))", "range(len(w_f))")],
        "streams are rebuilt in bfloat16, and are no longer what they were": [
            ("return y - added", "return (y - added).astype(jnp.bfloat16).astype(y.dtype)"),
        ],
        "the gradient of extra is added up in bfloat16": [
            (AFTER_G, f"{AFTER_G}.astype(jnp.bfloat16).astype(g1.dtype)"),
            (AFTER_F, f"{AFTER_F}.astype(jnp.bfloat16).astype(g1.dtype)"),
        ],
        "the gradients of w_f and w_g are exchanged": [
            (RETURNED, RETURNED.replace("g_w_f, g_w_g", "g_w_g, g_w_f")),
        ],
        "the gradients of the weights stand in the order in which they are found": [
            (RETURNED, RETURNED.replace("g_w_f, g_w_g", "g_w_f[::-1], g_w_g[::-1]")),
        ],
        "what goes past the last branch, F of the first block, is lost": [
            (RETURNED, RETURNED.replace("g2", "to_y2")),
        ],
    },
    sound={
        "keeps the inputs, and goes forward once more": [
            ("(w_f, w_g, *results, extra, key)", "(w_f, w_g, x1, x2, extra, key)"),
            (
                "    w_f, w_g, y1, y2, extra, key = kept\n",
                "    *inputs, key = kept\n"
                "    again = jax.vjp(lambda *inputs: stored(*inputs, key), *inputs)[1]\n"
                "    return *again(gradients), None\n"
                "    w_f, w_g, y1, y2, extra, key = kept\n",
            ),
        ],
        "adds a block's two gradients of extra to each other first": [
            (AFTER_G, AFTER_G.replace("g_extra = ", "so_far = ").replace("g_extra +", "0 +")),
            (AFTER_F, AFTER_F.replace("g_extra + to_extra", "g_extra + (so_far + to_extra)")),
        ],
    },
)
