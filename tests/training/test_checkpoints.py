"""A checkpoint is whole, or it is the one before."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.training import checkpoints

TREE = {
    "weights": [jnp.arange(6.0).reshape(2, 3), jnp.float32(0.1)],
    "half": jnp.array([1.5, -2.0, 3e38], jnp.bfloat16),
    "count": jnp.int32(7),
}


def test_every_leaf_comes_back_bit_by_bit(tmp_path):
    checkpoints.save(tmp_path / "run.npz", TREE, {"rate": 0.1})
    loaded = checkpoints.load(tmp_path / "run.npz", TREE, {"rate": 0.1})
    assert loaded.keys() == TREE.keys()
    pairs = [
        (loaded["weights"][0], TREE["weights"][0]),
        (loaded["weights"][1], TREE["weights"][1]),
        (loaded["half"], TREE["half"]),
        (loaded["count"], TREE["count"]),
    ]
    for ours, saved in pairs:
        assert ours.dtype == saved.dtype
        assert np.asarray(ours).tobytes() == np.asarray(saved).tobytes()


def test_the_file_is_written_then_forced_to_disk_then_moved(tmp_path, monkeypatch):
    path, happened = tmp_path / "run.npz", []
    fsync, move = os.fsync, os.replace

    def recording_fsync(handle):
        happened.append(("fsync", sorted(os.listdir(tmp_path))))
        fsync(handle)

    def recording_replace(source, target):
        with np.load(source) as file:  # complete before it takes the place of the old one
            assert len(file.files) == 5
        happened.append(("replace", sorted(os.listdir(tmp_path))))
        move(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    checkpoints.save(path, TREE)
    beside = ["run.npz.unfinished"]
    assert happened == [("fsync", beside), ("replace", beside), ("fsync", ["run.npz"])]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failure_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch, broken):
    path = tmp_path / "run.npz"
    checkpoints.save(path, TREE)

    def disk_full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, disk_full)
        with pytest.raises(OSError, match="disk full"):
            checkpoints.save(path, {**TREE, "count": jnp.int32(8)})
    assert checkpoints.load(path, TREE)["count"] == 7
    checkpoints.save(path, {**TREE, "count": jnp.int32(8)})  # what the failure left is no obstacle
    assert checkpoints.load(path, TREE)["count"] == 8
    assert os.listdir(tmp_path) == ["run.npz"]


# Dtypes ---------------------------------------------------------------------------------------

FLOATS = [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float8_e4m3fn]


@pytest.mark.parametrize("saved", FLOATS)
@pytest.mark.parametrize("wanted", FLOATS)
def test_floats_of_another_dtype_are_converted_by_value(tmp_path, saved, wanted):
    tree = {"w": jnp.array([1.0, -2.5, 0.0, jnp.nan], saved)}
    checkpoints.save(tmp_path / "run.npz", tree)
    found = checkpoints.load(tmp_path / "run.npz", {"w": jnp.zeros(4, wanted)})["w"]
    assert found.dtype == wanted
    np.testing.assert_array_equal(np.asarray(found, np.float32), [1, -2.5, 0, np.nan])


def test_integers_of_another_dtype_are_converted_if_they_fit(tmp_path):
    checkpoints.save(tmp_path / "run.npz", {"n": jnp.array([0, 127])})
    found = checkpoints.load(tmp_path / "run.npz", {"n": jnp.zeros(2, jnp.int8)})["n"]
    assert found.dtype == jnp.int8
    assert found.tolist() == [0, 127]


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_random_keys_come_back_as_keys(tmp_path, implementation):
    keys = jax.random.split(jax.random.key(3, impl=implementation), 5)
    checkpoints.save(tmp_path / "run.npz", {"keys": keys})
    found = checkpoints.load(tmp_path / "run.npz", {"keys": keys})["keys"]
    assert found.dtype == keys.dtype
    assert (jax.random.bits(found[2]) == jax.random.bits(keys[2])).all()


def test_names_that_mean_something_to_numpy_are_names_like_any_other(tmp_path):
    tree = {name: jnp.float32(i) for i, name in enumerate(("file", "config", "efftx.json"))}
    checkpoints.save(tmp_path / "run.npz", tree)
    assert checkpoints.load(tmp_path / "run.npz", tree) == tree


def test_plain_numbers_are_arrays(tmp_path):
    checkpoints.save(tmp_path / "run.npz", {"rate": 0.25, "n": 3})
    found = checkpoints.load(tmp_path / "run.npz", {"rate": 0.0, "n": 0})
    assert (found["rate"], found["n"]) == (0.25, 3)


def test_a_file_of_the_first_version_is_read(tmp_path):
    """It was written by np.savez, knew no dtypes, and had its configuration among the arrays."""
    half = np.asarray(TREE["half"])
    arrays = {"weights.0": TREE["weights"][0], "weights.1": TREE["weights"][1], "half": half}
    np.savez(tmp_path / "run.npz", **arrays, count=TREE["count"], config='{"rate": 0.1}')
    loaded = checkpoints.load(tmp_path / "run.npz", TREE, {"rate": 0.1})
    for ours, saved in zip(jax.tree.leaves(loaded), jax.tree.leaves(TREE), strict=True):
        assert ours.dtype == saved.dtype
        assert np.asarray(ours).tobytes() == np.asarray(saved).tobytes()


def test_the_same_tree_is_the_same_file(tmp_path):
    for name in ("one", "two"):
        checkpoints.save(tmp_path / name, TREE, {"rate": 0.1})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
