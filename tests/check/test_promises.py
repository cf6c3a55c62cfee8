"""What a promise sees of an answer: in jax from its jaxpr, in numpy as it runs, else nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.check import promises

LENGTH, WIDTH, CHUNK = 120, 37, 10
CASE = {
    "x": np.ones((LENGTH, 2), np.float32),
    "w": np.ones((2, WIDTH), np.float32),
    "rows": CHUNK,
}
TABLE = {"table": np.ones((50, 4), np.float32), "index": np.array([3, 1, 4])}


def at_once(x, w, rows):
    return (x @ w).sum(axis=1)


def in_a_loop(x, w, rows):
    return jax.lax.map(lambda chunk: (chunk @ w).sum(axis=1), x.reshape(-1, rows, 2)).reshape(-1)


def in_python(x, w, rows):
    return jnp.concatenate([at_once(x[i : i + rows], w, rows) for i in range(0, len(x), rows)])


def asks_for_a_value(x, w, rows):
    return jnp.asarray([float((row @ w).sum()) for row in jnp.asarray(x)])


def numpy_in_python(x, w, rows):
    parts = [(np.asarray(x)[i : i + rows] @ w).sum(axis=1) for i in range(0, len(x), rows)]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("answer", "rows"), [(at_once, LENGTH), (in_a_loop, CHUNK), (in_python, CHUNK)]
)
def test_the_largest_array_is_found_in_loops_and_inner_functions_too(answer, rows):
    for one in (answer, jax.jit(answer, static_argnames="rows")):
        assert promises.largest_array(one, CASE, WIDTH) == rows * WIDTH


def test_of_what_jax_cannot_trace_nothing_is_known():
    for measure in (promises.compiled_memory, promises.numpy_memory):
        assert measure(asks_for_a_value, CASE) is None
    assert promises.largest_array(asks_for_a_value, CASE, WIDTH) is None


def test_numpys_memory_is_measured_as_it_runs():
    whole = promises.numpy_memory(lambda x, w, rows: (np.asarray(x) @ w).sum(axis=1), CASE)
    chunks = promises.numpy_memory(numpy_in_python, CASE)
    assert whole >= 4 * LENGTH * WIDTH
    assert chunks < whole / 2


def test_the_compilers_memory_holds_what_waits_for_the_way_back():
    def stored(x, w, rows):
        return jax.grad(lambda x: jnp.tanh(jnp.tanh(x @ w) @ w.T).sum())(x)

    assert promises.compiled_memory(stored, CASE) >= 4 * LENGTH * WIDTH


READS = {
    "rows taken": (lambda table, index: table[index], 3 * 4),
    "a slice": (lambda table, index: table[:2].sum(), 2 * 4),
    "columns of the transpose": (lambda table, index: table.T[:, index], 3 * 4),
    "all": (lambda table, index: table.sum(), 50 * 4),
    "all, and then the chosen": (lambda table, index: (2 * table)[index], 50 * 4),
    "nothing": (lambda table, index: index + 1, 0),
    "a row at each turn": (
        lambda table, index: jax.lax.map(lambda i: table[i], index),
        3 * 4,
    ),
}


@pytest.mark.parametrize("name", READS)
def test_what_is_read_is_counted(name):
    answer, wanted = READS[name]
    for one in (answer, jax.jit(answer)):
        assert promises.numbers_read(one, TABLE, "table") == wanted


def test_numpys_reads_are_counted_too():
    chosen = lambda table, index: table[np.asarray(index)]  # noqa: E731
    masked = lambda table, index: np.where(np.eye(50, 4) > 0, table, 0)  # noqa: E731
    assert promises.numbers_read(chosen, TABLE, "table") == 3 * 4
    assert promises.numbers_read(masked, TABLE, "table") == 50 * 4


def test_a_loop_of_the_program_is_as_long_at_any_length():
    def turns(x, w, rows):
        return jax.lax.fori_loop(0, rows, lambda _, y: jnp.sin(y), x)

    counts = [
        promises.n_operations(promises.traced(turns, {**CASE, "rows": rows})) for rows in (2, 9)
    ]
    assert counts[0] == counts[1]


def kept_in_a_list(x, w, rows):
    """No array is larger than a chunk, and all are there at once."""
    parts = [x[i : i + rows] @ w for i in range(0, len(x), rows)]
    return jnp.concatenate([part.sum(axis=1) for part in parts])


def stacked_by_a_scan(x, w, rows):
    """As a scan stores what is needed on the way back."""
    return jax.lax.scan(lambda _, row: (_, row @ w), 0, x)[1].sum(axis=1)


@pytest.mark.parametrize(
    ("answer", "rows"),
    [
        (at_once, LENGTH),
        (in_python, CHUNK),
        (in_a_loop, CHUNK),
        (kept_in_a_list, LENGTH),
        (stacked_by_a_scan, LENGTH),
    ],
)
def test_what_is_held_at_once_lives_until_its_last_use(answer, rows):
    def wide(shape):
        return WIDTH in shape

    for one in (answer, jax.jit(answer, static_argnames="rows")):
        held = promises.most_held(one, CASE, wide) / (4 * WIDTH)
        assert rows <= held < rows + 2
    assert promises.most_held(asks_for_a_value, CASE) is None


def test_all_that_is_made_counts_if_nothing_is_left_out():
    """x w, its sums, and the sums' reshape."""
    assert promises.most_held(at_once, CASE) == 4 * LENGTH * (WIDTH + 1)
