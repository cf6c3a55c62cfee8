"""The compilers of a TPU and of a GPU, on a machine that has neither.

    python -m benchmarks.harness.targets "TPU v5e" "blocked attention, gradient"

compiles one program of `benchmarks.contenders.accelerators` and prints a line of JSON: what it
would take in the device's memory, in bytes, and in the host's, as the device's own compiler plans
it. Nothing is run. The compilers are wheels in a folder of their own, `.venv-compilers`.

Two things to know of the numbers. "Temporary" is what a compiler sets aside, "peak" what is alive
at once: a TPU's sets aside more. And without a device CUDA's forgets on the way in that an argument
lies on the host (its results it puts there), so that what is read from there counts as the GPU's.
"""

import importlib
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHEELS = ROOT / ".venv-compilers"
CARDS = Path(__file__).parents[1] / "targets"
NVCC = WHEELS / "nvidia" / "cuda_nvcc"
V5E, T4 = "TPU v5e", "NVIDIA T4"
V5E_SLICE = "TPU v5e 2x4"  # eight of them, on one host
NEEDS = {  # distributions that the target's compiler is made of
    V5E: ("libtpu",),
    T4: ("jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12"),
}
SETTINGS = {  # of a process that compiles for it
    V5E: {  # what the machine around a TPU would say when libtpu asks
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # there is no device to quarrel over
    },
    T4: {  # to choose among kernels by running them takes a card
        "XLA_FLAGS": f"--xla_gpu_autotune_level=0 --xla_gpu_cuda_data_dir={NVCC}",
        "PATH": f"{NVCC / 'bin'}{os.pathsep}{os.environ['PATH']}",
    },
}
HOST = "pinned_host"
FIELDS = {
    "peak_bytes": "peak_memory_in_bytes",
    "temporary_bytes": "temp_size_in_bytes",
    "argument_bytes": "argument_size_in_bytes",
    "output_bytes": "output_size_in_bytes",
    "host_argument_bytes": "host_argument_size_in_bytes",
    "host_temporary_bytes": "host_temp_size_in_bytes",
    "host_output_bytes": "host_output_size_in_bytes",
}


def versions(target: str) -> dict[str, str]:
    """Of the target's compiler, by distribution; none of those that are not installed."""
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions(path=[str(WHEELS)])}
    return {name: installed[name] for name in NEEDS[target] if name in installed}


def missing(target: str) -> list[str]:
    return [name for name in NEEDS[target] if name not in versions(target)]


def settings(target: str) -> dict[str, str]:
    """The environment of a process that compiles for it; the compiler's cache is left alone."""
    here = {name: value for name, value in os.environ.items() if name not in SETTINGS[target]}
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(WHEELS))))
    return {**here, **SETTINGS[target], "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}


def device(target: str):
    """A description of the device, good enough to compile for."""
    from jax.experimental import topologies  # nothing stable describes a device that is not there

    if target == V5E:
        shape = {"topology_name": "v5e:1x1", "chips_per_host_bounds": [1, 1, 1]}
        return topologies.get_topology_desc(platform="tpu", **shape).devices[0]
    card = (CARDS / "t4.txtpb").read_text(encoding="utf-8")
    shape = {"target_config": card, "topology": "1x1x1"}
    return topologies.get_topology_desc(platform="cuda", **shape).devices[0]


def slice_devices() -> list:
    """Descriptions of the eight devices of `V5E_SLICE`, for a mesh."""
    from jax.experimental import topologies

    shape = {"topology_name": "v5e:2x4", "chips_per_host_bounds": [2, 4, 1]}
    return topologies.get_topology_desc(platform="tpu", **shape).devices


def slice_settings() -> dict[str, str]:
    """The environment of a process that compiles for `V5E_SLICE`."""
    return settings(V5E) | {"TPU_ACCELERATOR_TYPE": "v5litepod-8"}


def placed(target: str, arguments: tuple) -> tuple:
    """The arguments' shapes, on the target; those that lie on the host stay with the host."""
    import jax

    there = device(target)

    def place(x):
        kind = getattr(x.sharding, "memory_kind", None)
        kind = {"memory_kind": HOST} if kind == HOST else {}
        sharding = jax.sharding.SingleDeviceSharding(there, **kind)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(place, arguments)


def compiled(target: str, name: str) -> dict:
    """What the compiler plans, in bytes, and the seconds that it took to trace and to compile.

    Those of the processor, all threads together, count nobody else's work.
    """
    program, arguments = importlib.import_module("benchmarks.contenders.accelerators").built(name)
    started = time.perf_counter()
    lowered = program.trace(*placed(target, arguments)).lower()
    traced = time.perf_counter()
    worked = time.process_time()
    memory = lowered.compile().memory_analysis()
    seconds = {
        "trace_seconds": traced - started,
        "compile_seconds": time.perf_counter() - traced,
        "compile_processor_seconds": time.process_time() - worked,
    }
    planned = {ours: getattr(memory, theirs) for ours, theirs in FIELDS.items()}
    return planned | {name: round(value, 1) for name, value in seconds.items()}


if __name__ == "__main__":
    print(json.dumps(compiled(*sys.argv[1:])))
