"""What a file keeps of a model: every bit of its arrays, and what they are the arrays of."""

import json
import os
import sys
import zipfile
from dataclasses import dataclass, field, replace
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial, register_dataclass

from efftx.models import Sizes, init_feed_forward, load_model, save_model
from efftx.models.npz import DESCRIPTION, FORMAT
from efftx.models.readouts import init_readout

SIZES = Sizes(n_layers=1, d_model=8, d_ff=16, n_heads=2, d_head=4, max_len=16, vocab=32)
READOUT = init_readout(jax.random.key(0), SIZES)


@dataclass(frozen=True)
class Kind:
    """What a layer does, without arrays."""

    n_hashes: int
    scale: float | None = None
    name: str = "lsh"
    inner: object = None


@register_dataclass
@dataclass(frozen=True)
class Layer:
    w: object
    kind: object = field(metadata={"static": True})
    extra: object = None


@pytest.fixture(autouse=True)
def house(monkeypatch):
    """The classes above, as if they were efftx's."""
    module = ModuleType("efftx.toys")
    for each in (Kind, Layer):
        monkeypatch.setattr(each, "__module__", module.__name__)
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def there_and_back(path, model):
    save_model(path, model)
    return load_model(path)


def assert_same(found, model):
    assert jax.tree.structure(found) == jax.tree.structure(model)
    for ours, saved in zip(jax.tree.leaves(found), jax.tree.leaves(model), strict=True):
        assert isinstance(ours, jax.Array)
        assert (ours.dtype, ours.shape) == (saved.dtype, saved.shape)
        assert np.asarray(ours).tobytes() == np.asarray(saved).tobytes()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.int8])
def test_a_model_comes_back_to_the_bit(tmp_path, dtype):
    feed_forward = init_feed_forward(jax.random.key(0), SIZES)
    model = jax.tree.map(lambda x: (9 * x).astype(dtype), (feed_forward, READOUT))
    assert_same(there_and_back(tmp_path / "model.npz", model), model)


def test_it_computes_the_same(tmp_path):
    x = jax.random.normal(jax.random.key(1), (5, 8))
    found = there_and_back(tmp_path / "model.npz", READOUT)
    np.testing.assert_array_equal(found(x), READOUT(x))


STATIC = [
    None,
    True,
    3,
    -0.1,
    float("inf"),
    "text with ü",
    (1, (2.0, None), "three"),
    np.int64(4),
    np.dtype("float32"),
    jnp.dtype("bfloat16"),
    Kind(n_hashes=4),
    (Kind(8, 0.5), Kind(1, name="x", inner=Kind(2))),
    Sizes(n_layers=3),
]


@pytest.mark.parametrize("kind", STATIC, ids=str)
def test_static_fields_come_back(tmp_path, kind):
    model = Layer(jnp.arange(3.0), kind)
    found = there_and_back(tmp_path / "model.npz", model)
    assert_same(found, model)
    assert found.kind == kind
    assert jax.jit(lambda model: model.w + 1)(found).tolist() == [1, 2, 3]  # it hashes, too


def test_containers_and_keys_come_back(tmp_path):
    model = {
        "layers": (Layer(jnp.ones(2), 1), [Layer(jnp.zeros(()), 2, extra=READOUT)], None),
        "a.b": jax.random.key(7),
        "empty": (),
    }
    found = there_and_back(tmp_path / "model.npz", model)
    assert jax.tree.structure(found) == jax.tree.structure(model)
    assert jax.random.uniform(found["a.b"]) == jax.random.uniform(model["a.b"])
    assert_same(found["layers"], model["layers"])
    assert_same(there_and_back(tmp_path / "array.npz", jnp.arange(3)), jnp.arange(3))


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    save_model(path, Layer(jnp.ones(2), 1))

    def disk_full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk_full)
        with pytest.raises(OSError, match="disk full"):
            save_model(path, Layer(jnp.ones(2), 2))
    assert load_model(path).kind == 1
    save_model(path, Layer(jnp.ones(2), 2))
    assert load_model(path).kind == 2
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_field_that_is_new_takes_its_default(tmp_path, house):
    save_model(tmp_path / "model.npz", Layer(jnp.ones(2), Kind(3)))

    @dataclass(frozen=True)
    class WithAnotherField(Kind):
        chunk_len: int = 64

    house.Kind = WithAnotherField
    assert load_model(tmp_path / "model.npz").kind == WithAnotherField(3, chunk_len=64)


# Refusals -------------------------------------------------------------------------------------


class Stranger:
    pass


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Layer(jnp.ones(2), jax.nn.relu), "^kind is relu, of jax.*; a file keeps numbers"),
        (
            (Layer(jnp.ones(2), (1, lambda x: x)),),
            r"^0\.kind\.1 is .*<lambda>, of .*; a file keeps",
        ),
        (Layer(jnp.ones(2), np.ones(3)), "^kind is static, and holds an array"),
        (Layer(Partial(jnp.add), 1), r"^w is .*Partial, of .*; a file keeps"),
        ([Stranger()], r"^0 is Stranger, of .*; a file keeps"),
        ({3: jnp.ones(2)}, "^the model is dict, of builtins; a file keeps"),
        ({"a": {"b": jnp.ones(2)}, "a.b": jnp.ones(2)}, r"two arrays are called a\.b"),
    ],
)
def test_what_no_file_can_keep(tmp_path, model, message):
    with pytest.raises(ValueError, match=message):
        save_model(tmp_path / "model.npz", model)
    assert not os.listdir(tmp_path)


def test_a_class_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(Layer, "__module__", "my_models")
    with pytest.raises(ValueError, match="the model is Layer, of my_models; a file keeps"):
        save_model(tmp_path / "model.npz", Layer(jnp.ones(2), 1))


def test_places_where_nothing_can_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*away for model\.npz; make it"):
        save_model(tmp_path / "away" / "model.npz", READOUT)
    with pytest.raises(ValueError, match="is a folder; the name of a file is needed"):
        save_model(tmp_path, READOUT)
    (tmp_path / "model.npz.unfinished").mkdir()
    with pytest.raises(ValueError, match=r"model\.npz cannot be written: .*[Dd]irectory"):
        save_model(tmp_path / "model.npz", READOUT)


def test_files_that_are_not_there_cut_or_foreign(tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(ValueError, match=r"there is no file .*model\.npz"):
        load_model(path)
    save_model(path, READOUT)
    whole = path.read_bytes()
    damaged = whole.replace(READOUT.w.tobytes()[:8], bytes(8))
    assert damaged != whole
    for content in (b"", whole[:200], whole[:-30], damaged):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.npz is no file of efftx, or it is cut"):
            load_model(path)
    np.savez(path, w=np.ones(3))
    with pytest.raises(ValueError, match=r"model\.npz is no file of efftx.*no efftx\.json in it"):
        load_model(path)
    np.savez(path, w=np.ones(3), config=np.ones(3))
    with pytest.raises(ValueError, match=r"model\.npz is no file of efftx"):
        load_model(path)


def rewritten(path, change):
    """The file with another description."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(entries[DESCRIPTION])
    changed = change(description)
    entries[DESCRIPTION] = json.dumps(
        changed if isinstance(changed, list) else description
    ).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=FORMAT + 1), f"is of format {FORMAT + 1}, and this version"),
        (lambda d: d["dtypes"].pop("w"), "is no file of efftx, or it is cut"),
        (lambda d: [], "is no file of efftx, or it is cut"),
        (lambda d: d["model"].update({"class": "efftx.toys:Gone"}), "no efftx.toys:Gone"),
        (lambda d: d["model"].update({"class": "efftx.gone:Layer"}), "no efftx.gone:Layer"),
        (lambda d: d["model"].update({"class": "os:system"}), "os:system is no class of efftx"),
        (lambda d: d["model"].update({"class": "efftx.toys:json"}), "no efftx.toys:json"),
        (
            lambda d: d["model"].update({"class": "efftx.models.files:load_model"}),
            "load_model is no dataclass of efftx",
        ),
        (lambda d: d["model"]["fields"].update(old=1), "efftx.toys:Layer no longer has old"),
        (lambda d: d["model"]["fields"].pop("w"), "efftx.toys:Layer has a new field, w"),
        (lambda d: d["model"]["fields"].update(w={"array": "v"}), "cannot be built: 'v'"),
        (lambda d: d.pop("model"), "does not say how its model is built"),
    ],
)
def test_descriptions_that_do_not_fit(tmp_path, change, message):
    path = tmp_path / "model.npz"
    save_model(path, Layer(jnp.ones(2), 1))
    rewritten(path, change)
    with pytest.raises(ValueError, match=message) as raised:
        load_model(path)
    assert "model.npz" in str(raised.value)


def test_float64_where_jax_has_none(tmp_path):
    with jax.enable_x64(True):
        save_model(tmp_path / "model.npz", {"w": jnp.arange(3.0)})
        assert load_model(tmp_path / "model.npz")["w"].dtype == jnp.float64
    with pytest.raises(ValueError, match="w is float64, which jax makes float32 unless"):
        load_model(tmp_path / "model.npz")


def test_what_a_class_refuses_is_said(tmp_path):
    path = tmp_path / "model.npz"
    save_model(path, Layer(jnp.ones(2), SIZES))
    rewritten(path, lambda d: d["model"]["fields"]["kind"]["fields"].update(n_layers=0))
    with pytest.raises(ValueError, match="cannot be built: n_layers must be a whole number of at"):
        load_model(path)
    assert replace(SIZES, n_layers=2) != SIZES
