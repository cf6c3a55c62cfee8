"""A checkpoint is whole, or it is the one before."""

import os

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
