"""Layers at their first address: code that was written for it goes on, new code says efftx.models.

What is here stands in modules of its own now, one for each idea.
"""

from efftx.models.attention import Attention
from efftx.models.feed_forward import FeedForward, init_feed_forward
from efftx.models.layer import Sizes
from efftx.models.norm import UNNORMED, LayerNorm, init_norm
from efftx.models.readouts import Readout, init_readout

__all__ = [
    "UNNORMED",
    "Attention",
    "FeedForward",
    "LayerNorm",
    "Readout",
    "Sizes",
    "init_feed_forward",
    "init_norm",
    "init_readout",
]
