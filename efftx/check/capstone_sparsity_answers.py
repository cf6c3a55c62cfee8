"""The sparsity capstone's inputs, right answers, and the way the check asks.

Right is the dense model with masks, in numpy: every unit and every weight, and for each token the
whole text anew.
"""

from collections.abc import Callable

import jax
import numpy as np

from efftx.check.programs import as_one_program

D_MODEL, D_LOWRANK, MODULES, READOUT = 6, 2, 3, 2  # M is 2: not as many as there are modules
BLOCKS = ((2, 3), (3, 2), (3, 4))  # n_blocks, N
DRAWS = 4
CLEAR = 1e-3  # between the highest score and the next: float32 must not choose another
NAMES = ("embedding", "d", "e", "kernels", "c1", "c2", "w1", "b1", "w2", "b2", "d_out", "e_out")


# Inputs


def drawn(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def units_of(rng, d_model: int, n_blocks: int, n_units: int) -> dict:
    """A controller and the weights of its units."""
    shapes = {
        "c1": (d_model, D_LOWRANK),
        "c2": (D_LOWRANK, n_blocks, n_units),
        "w1": (n_blocks, n_units, d_model),
        "b1": (n_blocks, n_units),
        "w2": (n_blocks, n_units, d_model),
        "b2": (d_model,),
    }
    return {name: drawn(rng, *shape) for name, shape in shapes.items()}


def projections_of(rng, d_model: int, n_modules: int) -> dict:
    m = d_model // n_modules
    shapes = {"d": (d_model, n_modules), "e": (d_model, m), "kernels": (3, 3, 3, m, m)}
    return {name: drawn(rng, *shape) / 2 for name, shape in shapes.items()}


def unit_cases(rng):
    for size in BLOCKS:
        for _ in range(DRAWS):
            yield {"x": drawn(rng, D_MODEL), **units_of(rng, D_MODEL, *size)}


def step_case(rng, t: int, room: int, d_model: int, n_modules: int) -> dict:
    """Rows of the cache from t on hold anything; before the text the history is 0."""
    y = drawn(rng, 2, n_modules, d_model // n_modules)
    y[: max(2 - t, 0)] = 0
    keys, values = drawn(rng, 2, room, *y.shape[1:])
    cache = {"history": y, "keys": keys, "values": values}
    return {"x": drawn(rng, d_model), "t": t, **cache, **projections_of(rng, d_model, n_modules)}


def step_cases(rng):
    for t in (0, 1, 2, 5, 6):
        yield step_case(rng, t, 7, D_MODEL, MODULES)


def score_cases(rng):
    for vocab in (5, 8, 5, 8):
        m = -(-vocab // READOUT)
        yield {
            "x": drawn(rng, D_MODEL),
            "d": drawn(rng, D_MODEL, READOUT),
            "e": drawn(rng, D_MODEL, m),
            "vocab": vocab,
        }


def weights_of(rng, d_model: int, vocab: int, n_blocks: int, n_units: int) -> dict:
    """A whole model."""
    n_modules = d_model // 2
    return {
        "embedding": drawn(rng, vocab, d_model),
        **projections_of(rng, d_model, n_modules),
        **units_of(rng, d_model, n_blocks, n_units),
        "d_out": drawn(rng, d_model, READOUT),
        "e_out": drawn(rng, d_model, -(-vocab // READOUT)),
    }


def writing_cases(rng):
    for length, n_new in ((1, 3), (3, 4)):
        while True:
            weights = weights_of(rng, D_MODEL, 7, 2, 3)
            prompt = rng.integers(7, size=length)
            tokens, _ = written(prompt, n_new, *weights.values())
            differ = len(set(tokens)) == n_new  # else the order of the tokens might not matter
            if differ and least_margin(prompt, n_new, *weights.values()) > CLEAR:
                break
        yield {"prompt": prompt, "n_new": n_new, **weights}


# Right answers


def scores_of_units(x, c1, c2):
    return np.einsum("r,rbn->bn", x @ c1, c2)


def masked(x, c1, c2, *units):
    """All units, and a mask of zeros and ones."""
    w1, b1, w2, b2 = units
    scores = scores_of_units(x, c1, c2)
    mask = scores == scores.max(axis=-1, keepdims=True)
    hidden = np.maximum(w1 @ x + b1, 0) * mask
    return np.einsum("bn,bnd->d", hidden, w2) + b2


def dense_weight(d, e):
    """(d_model, S · M): D_is E_im."""
    return (d[:, :, None] * e[:, None, :]).reshape(len(d), -1)


def convolved(y, kernel):
    """(length, S, M), term by term."""
    length, n_modules, _ = y.shape
    z = np.zeros_like(y)
    for t, s, i, j in np.ndindex(length, n_modules, 3, 3):
        if t - 2 + i >= 0 and 0 <= s - 1 + j < n_modules:
            z[t, s] += y[t - 2 + i, s - 1 + j] @ kernel[i, j]
    return z


def attended(q, keys, values):
    """One token's heads over the keys given, joined."""
    scores = np.einsum("sm,usm->su", q, keys) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("su,usm->sm", weights, values).reshape(-1)


def stepped(x, t, *rest):
    """Output, history, keys and values."""
    history, keys, values, d, e, kernels = rest
    y = (x @ dense_weight(d, e)).reshape(history.shape[1:])
    window = np.concatenate([history, y[None]])
    q, k, v = (convolved(window, kernel)[-1] for kernel in kernels)
    keys, values = keys.copy(), values.copy()
    keys[t], values[t] = k, v
    return attended(q, keys[: t + 1], values[: t + 1]), window[1:], keys, values


def scored(x, d, e, vocab):
    return x @ dense_weight(d, e)[:, :vocab]


def _last_position(tokens, w):
    """The stream between the layers, and the scores, at the last of the tokens."""
    x = w["embedding"][tokens].astype(np.float64)
    y = (x @ dense_weight(w["d"], w["e"])).reshape(len(x), w["d"].shape[1], -1)
    q, k, v = (convolved(y, kernel) for kernel in w["kernels"])
    between = x[-1] + attended(q[-1], k, v)
    units = [w[name] for name in ("c1", "c2", "w1", "b1", "w2", "b2")]
    after = between + masked(between, *units)
    return between, scored(after, w["d_out"], w["e_out"], len(w["embedding"]))


def written(prompt, n_new, *arrays):
    """The new tokens, and the scores of each."""
    w, tokens, scores = dict(zip(NAMES, arrays, strict=True)), list(prompt), []
    for _ in range(n_new):
        scores.append(_last_position(tokens, w)[1])
        tokens.append(int(scores[-1].argmax()))
    return np.array(tokens[len(prompt) :]), np.stack(scores)


def least_margin(prompt, n_new, *arrays) -> float:
    """By how much the nearest choice was clear, of a token or of a unit."""
    w, (tokens, scores) = dict(zip(NAMES, arrays, strict=True)), written(prompt, n_new, *arrays)
    text = [*prompt, *tokens]
    units = [
        scores_of_units(_last_position(text[:t], w)[0], w["c1"], w["c2"])
        for t in range(1, len(text))
    ]
    best = [np.sort(np.reshape(s, (-1, s.shape[-1])))[:, -2:] for s in (*units, *scores)]
    return min(float((pair[:, 1] - pair[:, 0]).min()) for pair in best)


# As the check calls them: arrays one by one, and results one by one


def with_a_cache(answer: Callable) -> Callable:
    def run(x, t, history, keys, values, *weights):
        result = answer(x, t, (history, keys, values), *weights)
        return None if result is None else tuple(jax.tree.leaves(result))

    return as_one_program(run)


def with_weights(answer: Callable) -> Callable:
    def run(prompt, n_new, *arrays):
        return answer(prompt, n_new, dict(zip(NAMES, arrays, strict=True)))

    return as_one_program(run)
