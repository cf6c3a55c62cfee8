"""What a token reads of a sparse feed-forward layer, for chapter 10's widget."""

from efftx.sparsity import default_d_lowrank

BYTES = 4  # of a float32 number
MIB = 2**20


def mib_read(n_units: int, d_model: int, d_ff: int) -> tuple[float, float]:
    """What one position reads, of the chosen units and of the controller; N = 1 is the dense layer.

    Biases are left out.
    """
    units = 2 * d_model * d_ff / n_units
    controller = 0 if n_units == 1 else default_d_lowrank(d_model, n_units) * (d_model + d_ff)
    return BYTES * units / MIB, BYTES * controller / MIB
