"""What a run does at each step, and how it goes on: with a model of three numbers, to be quick."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import register_dataclass

from efftx.models import Sizes, load_model, npz
from efftx.models.readouts import Readout, init_readout
from efftx.training import checkpoints
from efftx.training.batches import packed_windows, padded_windows
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte

WEIGHTS = {"w": jnp.arange(1.0, 4)}
SGD = optax.sgd(0.01)
MOMENTUM = optax.adam(0.1)


def batch_at(step: int) -> np.ndarray:
    return np.random.default_rng(step).normal(size=(4, 3)).astype(np.float32)


def square(model, example, key):
    return (model["w"] @ example) ** 2


def noise(model, example, key):
    return jax.random.uniform(key) + 0 * model["w"].sum()


def run(n_steps: int = 4, model=WEIGHTS, **how):
    defaults = {"loss": square, "batch_at": batch_at, "optimiser": SGD, "progress": False}
    return train(model, n_steps=n_steps, **{**defaults, **how})


def assert_same_bits(one, other):
    """All but the time that it took."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if a is not one.seconds:
            assert a.dtype == b.dtype
            assert npz.as_numpy(a).tobytes() == npz.as_numpy(b).tobytes()


# Keys -----------------------------------------------------------------------------------------


def test_every_step_and_every_example_has_a_key_of_its_own():
    """The batches' means of uniform numbers: with one key for all they would be the same."""
    losses = np.asarray(run(200, loss=noise).losses)
    assert len(set(losses.tolist())) == 200
    assert losses.std() == pytest.approx((1 / 12 / 4) ** 0.5, rel=0.2)  # of 4 independent numbers


def test_keys_are_those_of_the_seed():
    assert (run(loss=noise).losses == run(loss=noise).losses).all()
    assert (run(loss=noise).losses != run(loss=noise, seed=1).losses).all()


def test_a_resumed_run_draws_the_same_keys(tmp_path):
    whole = run(6, loss=noise)
    run(2, loss=noise, checkpoint=tmp_path / "run.npz")
    assert_same_bits(run(6, loss=noise, checkpoint=tmp_path / "run.npz"), whole)


# Going on -------------------------------------------------------------------------------------


def test_a_finished_run_can_be_continued(tmp_path):
    path = tmp_path / "run.npz"
    whole = run(7, optimiser=MOMENTUM)
    first = run(3, optimiser=MOMENTUM, checkpoint=path)
    assert len(first.losses) == 3
    assert_same_bits(run(7, optimiser=MOMENTUM, checkpoint=path), whole)
    again = run(7, optimiser=MOMENTUM, checkpoint=path, batch_at=never)
    assert_same_bits(again, whole)
    assert again.seconds > first.seconds > 0


def never(step):
    raise AssertionError("nothing is left to do")


def test_a_run_that_was_interrupted_may_become_shorter(tmp_path):
    path = tmp_path / "run.npz"

    def stop(step, loss, state):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(10, checkpoint=path, save_every=2, on_step=stop)
    assert_same_bits(run(5, checkpoint=path), run(5))


def test_a_checkpoint_of_the_first_version_goes_on(tmp_path):
    """Its config had n_steps, its losses NaN for steps to come, and it recorded no dtypes."""
    path, done = tmp_path / "run.npz", run(2)
    arrays = npz.named_arrays(done)
    losses = np.pad(done.losses, (0, 3), constant_values=np.nan)
    config = '{"n_steps": 5, "seed": 0}'
    np.savez(path, **{**arrays, "losses": losses}, config=config)
    for n_steps in (5, 6):
        assert_same_bits(run(n_steps, checkpoint=path), run(n_steps))


def test_a_config_of_numpys_numbers_is_the_same_as_of_pythons(tmp_path):
    path = tmp_path / "run.npz"
    config = {"rate": np.float32(0.5), "sizes": (np.int64(3), True), "ok": np.bool_(True)}
    first = run(
        np.int64(2), checkpoint=path, seed=np.int64(1), save_every=np.int32(1), config=config
    )
    plain = {"rate": 0.5, "sizes": [3, True], "ok": True}
    assert_same_bits(run(2, checkpoint=path, seed=1, config=plain), first)


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_an_optimiser_may_carry_a_random_key(tmp_path, implementation):
    noisy = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(3, impl=implementation)), SGD)
    whole = run(5, optimiser=noisy)
    run(2, optimiser=noisy, checkpoint=tmp_path / "run.npz")
    assert_same_bits(run(5, optimiser=noisy, checkpoint=tmp_path / "run.npz"), whole)


def test_a_runs_model_comes_without_optimiser_and_configuration(tmp_path):
    sizes = Sizes(d_model=4, vocab=8)
    path, readout = tmp_path / "run.npz", init_readout(jax.random.key(0), sizes)

    def loss(model, example, key):
        return (model(example[None]) ** 2).sum()

    def vectors(step):
        return np.random.default_rng(step).normal(size=(2, 4)).astype(np.float32)

    how = {"loss": loss, "batch_at": vectors, "optimiser": MOMENTUM, "checkpoint": path}
    trained = run(3, readout, **how, config={"rate": 0.1}).model
    assert (trained.w != readout.w).any()
    for found in (load_model(path), checkpoints.model_of(path, readout)):
        assert isinstance(found, Readout)
        jax.tree.map(np.testing.assert_array_equal, found, trained)


# Surroundings ---------------------------------------------------------------------------------


def test_it_runs_under_debug_nans():
    with jax.debug_nans(True):
        state = run(3)
    assert_same_bits(state, run(3))


def test_parameters_in_float64_stay_so():
    with jax.enable_x64(True):
        state = run(3, {"w": jnp.arange(1.0, 4)}, optimiser=MOMENTUM)
        assert state.model["w"].dtype == jnp.float64
        assert state.losses.dtype == jnp.float32
    np.testing.assert_allclose(state.losses, run(3, optimiser=MOMENTUM).losses, rtol=1e-5)


def test_examples_at_once_change_nothing_but_the_memory():
    whole, one = run(loss=noise_and_square), run(loss=noise_and_square, examples_at_once=1)
    np.testing.assert_allclose(one.losses, whole.losses, rtol=1e-5)
    np.testing.assert_allclose(one.model["w"], whole.model["w"], rtol=1e-5)


def noise_and_square(model, example, key):
    return (model["w"] @ example + jax.random.normal(key)) ** 2


def test_on_step_sees_each_step_its_loss_and_the_state_after_it():
    seen = []
    state = run(4, on_step=lambda *what: seen.append(what))
    assert [step for step, _, _ in seen] == [0, 1, 2, 3]
    assert [loss for _, loss, _ in seen] == state.losses.tolist()
    assert [int(after.step) for _, _, after in seen] == [1, 2, 3, 4]
    assert seen[-1][2] is state


# Tokens ---------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class Bigram:
    """The logits of the next token by the last one; looks where it may."""

    table: jax.Array

    @property
    def vocab(self) -> int:
        return len(self.table)

    def __call__(self, tokens, key=None, *, key_mask=None):
        logits = self.table[tokens]
        return logits if key_mask is None else jnp.where(key_mask[:, None], logits, 0)


TEXTS = [np.array([1, 2, 3, 1, 2], np.uint8), np.array([2, 3], np.uint8)]


@pytest.mark.parametrize("cut", [padded_windows, packed_windows])
def test_it_trains_on_texts_of_many_lengths(cut):
    state = run(
        60,
        Bigram(jnp.zeros((4, 4))),
        loss=bits_per_byte,
        batch_at=lambda step: cut(TEXTS, length=4, seed=0, step=step, batch=3),
        optimiser=MOMENTUM,
    )
    assert state.losses[0] == pytest.approx(2)
    assert state.losses[-1] < 0.05  # 1 → 2 → 3 → 1, and neither padding nor borders
    np.testing.assert_array_equal(state.model.table[0], 0)


def test_a_token_that_the_model_does_not_know_stops_the_run_before_its_step():
    done = []

    def batches(step):
        return np.array([[1, 2, 3], [3, 2, 4 if step == 2 else 1]], np.uint8)

    def go(**how):
        done.clear()
        count = {"on_step": lambda step, *_: done.append(step), "loss": bits_per_byte}
        return run(4, batch_at=batches, **count, **how)

    model = Bigram(jnp.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"batch_at\(2\) must lie in 0 … 3 \(vocab 4\); got 1 … 4"):
        go(model=model)
    assert done == [0, 1]
    with pytest.raises(ValueError, match=r"batch_at\(0\) must lie in 0 … 2"):
        go(model=model, vocab=3)
    go(model=Bigram(jnp.zeros((5, 5))))
    assert done == [0, 1, 2, 3]


def test_integers_that_are_no_tokens_may_be_let_through():
    def first(model, example, key):
        return bits_per_byte(model, example[0])

    batch = np.array([[1, 2, 3]], np.uint8), np.array([1000])
    how = {"loss": first, "batch_at": lambda step: batch, "model": Bigram(jnp.zeros((4, 4)))}
    with pytest.raises(ValueError, match="got 1000 … 1000"):
        run(1, **how)
    assert run(1, **how, vocab=np.inf).losses[0] == pytest.approx(2)
