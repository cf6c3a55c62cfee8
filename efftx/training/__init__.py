"""Training: losses, corpora, batches, the loop and its checkpoints.

Tasks that need packages of their own stay in their modules: ``duplication``, ``translation``,
``number_words`` and ``wmt14``.
"""

from efftx.training.batches import (
    consecutive_windows,
    packed_windows,
    padded_windows,
    random_windows,
)
from efftx.training.checkpoints import load as load_checkpoint
from efftx.training.checkpoints import model_of
from efftx.training.checkpoints import save as save_checkpoint
from efftx.training.corpora import (
    Corpus,
    as_text,
    as_tokens,
    enwik8,
    python_documentation,
    standard_library,
)
from efftx.training.devices import all_devices
from efftx.training.loop import train
from efftx.training.losses import bits_per_byte, evaluate, mean_bits
from efftx.training.optimisers import adamw
from efftx.training.own_text import TextRun, Trained, train_on_text
from efftx.training.steps import TrainState, initial_state, train_step, value_and_gradient

__all__ = [
    "Corpus",
    "TextRun",
    "TrainState",
    "Trained",
    "adamw",
    "all_devices",
    "as_text",
    "as_tokens",
    "bits_per_byte",
    "consecutive_windows",
    "enwik8",
    "evaluate",
    "initial_state",
    "load_checkpoint",
    "mean_bits",
    "model_of",
    "packed_windows",
    "padded_windows",
    "python_documentation",
    "random_windows",
    "save_checkpoint",
    "standard_library",
    "train",
    "train_on_text",
    "train_step",
    "value_and_gradient",
]
