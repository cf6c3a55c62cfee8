"""What generating and looking inside have to know of a model: the same of every one."""

from typing import Any, NamedTuple

from efftx.models.branch import Branch
from efftx.models.embedding import Embedding
from efftx.models.layer import Extra
from efftx.models.readouts import Readout
from efftx.models.residuals import Residual
from efftx.validation import require


class Parts(NamedTuple):
    """What comes in, what is gone through and how, what all layers see, what is read out."""

    embedding: Embedding | Any  # or what is called as one
    branches: tuple[Branch, ...]  # each holds those of all layers
    residual: Residual
    extra: Extra
    readout: Readout


def checked(residual) -> Residual:
    """The residual; ValueError for a function of which nothing is known."""
    require(
        isinstance(residual, Residual),
        "generating and looking inside follow a residual's streams, and this model's says nothing "
        f"of them: {residual} should be an efftx.models.Residual, as plain_residual is.",
    )
    return residual
