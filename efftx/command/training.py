"""``python -m efftx train``."""

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np

from efftx.command.curve import save_curve
from efftx.memory.ledger import in_gib
from efftx.models import n_parameters
from efftx.training.own_text import DTYPES, MODELS, TextRun, train_on_text

HELP = "train a model on files or folders of text"
ABOUT = """\
Train a model on files or folders of text. Stop it whenever you like: the same command goes on where
it stopped, and ends with the same bits as if it never had.

What to turn first:
    --length     how far the model looks back. Exact attention ("--model transformer") takes time
                 that grows with its square, a reformer's hashing time that grows with it.
    --width, --layers   how much the model can know, and how many numbers it has.
    --batch, --at-once  more windows in a step make its direction surer. Of a batch as many windows
                 are worked on at once as you say, and their gradients are added up: with 1 a large
                 batch takes no more memory than a small one.
    --rounds     of hashing: more find more of what a position should look at, and take longer.
"""
TOKENIZER = "a file of the package tokenizers; without it each byte is a token"
HELPS = {
    "model": "reformer: hashed attention, memory flat in the depth; transformer: exact attention",
    "length": "tokens that the model sees at once",
    "layers": "blocks of attention and feed-forward",
    "width": "of the vectors between them",
    "heads": "of attention, each width / heads wide",
    "rounds": "of hashing, of a reformer",
    "reversible": "rebuild activations and do not store them, of a transformer (a reformer does)",
    "batch": "windows of text in a step",
    "at_once": "how many of them are worked on together (default: what is best)",
    "steps": "how often the parameters are changed",
    "rate": "how far at most: the rate rises to this, then falls along a cosine",
    "dtype": "of the parameters; bfloat16 takes half the memory and learns less finely",
    "seed": "another one gives another run",
}
CHOICES = {"model": MODELS, "dtype": DTYPES}


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("text", type=Path, nargs="+", help="files, or folders with files in them")
    for field in fields(TextRun):
        add_option(command, field)
    command.add_argument(
        "--out",
        type=Path,
        default=Path("efftx_run.npz"),
        help="the checkpoint; default %(default)s",
    )
    command.add_argument(
        "--save-every", type=int, default=100, help="steps between checkpoints; default %(default)s"
    )
    command.add_argument(
        "--say-every", type=int, default=10, help="steps between lines; default %(default)s"
    )
    command.add_argument(
        "--memory", type=float, metavar="GIB", help="that a step may take; default: what is free"
    )


def add_option(command: argparse.ArgumentParser, field) -> None:
    name, text = f"--{field.name.replace('_', '-')}", HELPS[field.name]
    if field.type is bool:
        command.add_argument(name, action="store_true", help=text)
        return
    shown = "" if field.default is None else "; default %(default)s"
    command.add_argument(
        name,
        type=int if field.name == "at_once" else field.type,
        default=field.default,
        choices=CHOICES.get(field.name),
        help=text + shown,
    )


def run(chosen: argparse.Namespace) -> None:
    how = TextRun(**{field.name: getattr(chosen, field.name) for field in fields(TextRun)})
    memory = None if chosen.memory is None else int(chosen.memory * 2**30)
    trained = train_on_text(
        chosen.text,
        how,
        checkpoint=chosen.out,
        tokenizer=chosen.tokenizer,
        save_every=chosen.save_every,
        memory=memory,
        on_start=lambda *known: say_start(how, *known),
        on_step=lambda step, loss, state: say_step(chosen, step, loss, state),
        progress=False,
    )
    print(f"held out: {trained.bits_per_byte:.3f} bits per byte")
    picture = save_curve(chosen.out.with_suffix(".png"), trained.losses, trained.bits_per_byte)
    print(f"saved: {chosen.out}{f', and the curve in {picture}' if picture else ''}")
    print(f"now:   python -m efftx generate {chosen.out} --prompt …")


def say_start(how: TextRun, corpus, needed: int, budget: int | None, model) -> None:
    n_bytes = len(corpus.train) + len(corpus.held_out)
    share = 100 * len(corpus.held_out) / n_bytes
    print(f"text:  {n_bytes:,} bytes, {share:.0f} % of them held out")
    print(f"model: {how.model}, {n_parameters(model):,} parameters of {how.dtype}")
    have = "" if budget is None else f", and you have {in_gib(budget)}"
    print(f"a step needs {in_gib(needed)}{have}", flush=True)


def say_step(chosen: argparse.Namespace, step: int, loss: float, state) -> None:
    done = step + 1
    if done % chosen.say_every and done != chosen.steps:
        return
    last = np.asarray(state.losses[max(0, done - chosen.say_every) : done])
    seconds = float(state.seconds)
    print(
        f"step {done:>6} of {chosen.steps}   loss {last.mean():.3f} bits per token   "
        f"{seconds:.0f} s",
        flush=True,
    )
