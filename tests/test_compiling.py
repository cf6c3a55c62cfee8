"""Bytes as a CPU's compiler plans them, whatever device the reader has."""

import jax
import jax.numpy as jnp
import pytest

from efftx import compiling

SQUARE = jax.ShapeDtypeStruct((64, 64), jnp.float32)


def twice(x):
    return jnp.tanh(x @ x) @ x


def test_nothing_is_said_where_the_device_is_a_cpu(capsys):
    planned = compiling.planned_bytes(twice, SQUARE)
    assert planned == compiling.temporary_bytes(twice, SQUARE) >= 64 * 64 * 4
    assert planned == compiling.planned_bytes(twice, jnp.ones((64, 64)))
    assert not capsys.readouterr().out


class Elsewhere:
    platform, device_kind = "tpu", "TPU v5 lite"


def test_elsewhere_the_devices_answer_stands_beside(capsys, monkeypatch):
    (cpu,) = jax.devices("cpu")[:1]
    right = compiling.temporary_bytes(twice, SQUARE)
    monkeypatch.setattr(jax, "devices", lambda kind=None: [cpu if kind == "cpu" else Elsewhere])
    assert compiling.planned_bytes(twice, SQUARE) == right
    assert capsys.readouterr().out.startswith("(CPU 0.0 MiB, this TPU v5 lite 0.0")


@pytest.mark.parametrize(("backend", "options"), [("cpu", 1), ("tpu", 0)])
def test_only_a_cpu_is_asked_to_be_quick(monkeypatch, backend, options):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert len(compiling.for_one_run()) == options


def test_what_is_quickly_compiled_is_compiled_and_computes_the_same():
    traces = []

    def counted(x):
        traces.append(x)
        return twice(x)

    quick, x = compiling.quick_jit(counted), jnp.eye(64) / 8
    assert jnp.allclose(quick(x), twice(x), atol=1e-6)
    assert jnp.array_equal(quick(x), quick(x))
    assert len(traces) == 1
