"""A small training run on all the devices that there are; prints its losses.

    python -m tests.devices.run CHECKPOINT N_STEPS [ADDRESS PROCESS [DIES_AT]]

Without an address in one process, which has as many devices as XLA_FLAGS says; else in one of two.
"""

import json
import os
import signal
import sys
from functools import partial

import jax
import numpy as np

from efftx.models import Sizes, lsh, reformer
from efftx.training import adamw, bits_per_byte, random_windows, train
from efftx.training.devices import all_devices, writes

TEXT = np.frombuffer(b"she sells sea shells by the sea shore. " * 9, np.uint8)
SIZES = Sizes(n_layers=1, d_model=16, d_ff=64, n_heads=2, d_head=8, max_len=32)


def main(checkpoint: str, n_steps: str, address: str = "", process: str = "0", dies_at: str = ""):
    if address:
        jax.distributed.initialize(address, 2, int(process), heartbeat_timeout_seconds=10)

    def batch_at(step):
        if dies_at and step == int(dies_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return random_windows(TEXT, seed=3, step=step, length=32, batch=8)

    state = train(
        reformer(jax.random.key(0), SIZES, attention=lsh(n_hashes=1, chunk_len=8)),
        loss=partial(bits_per_byte, chunk_len=8),
        batch_at=batch_at,
        optimiser=adamw(8, peak=1e-2),
        n_steps=int(n_steps),
        checkpoint=checkpoint,
        save_every=2,
        mesh=all_devices(),
        progress=False,
    )
    if writes():
        shared_out = [not x.is_fully_replicated for x in jax.tree.leaves(state)]
        print(json.dumps({"losses": [float(x) for x in state.losses], "shared": sum(shared_out)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
