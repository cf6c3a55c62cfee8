"""``python -m efftx train text.txt`` and ``python -m efftx generate run.npz``.

What is done is done by `efftx.training.own_text` and `efftx.models.generate`; here are the options,
and what is said on the way.
"""

import argparse
import sys
from pathlib import Path

from efftx.command import generating, training

ABOUT = """\
Train a language model on your own text, and let it write.

    python -m efftx train letters.txt --length 1024 --steps 500
    python -m efftx generate efftx_run.npz --prompt "Dear "

A model reads bytes, and learns to say which comes next. How surprised it is by text that it has not
seen is measured in bits per byte: 8 is knowing nothing, and 0 would be knowing it by heart.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command: 0 if it went well, 2 where what was asked does not go; then it says why."""
    chosen = parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except ValueError as error:
        print(f"efftx: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    whole = argparse.ArgumentParser("python -m efftx", description=ABOUT, formatter_class=raw)
    commands = whole.add_subparsers(required=True, metavar="train | generate")
    for name, of in (("train", training), ("generate", generating)):
        command = commands.add_parser(name, help=of.HELP, description=of.ABOUT, formatter_class=raw)
        command.add_argument("--tokenizer", type=Path, metavar="FILE", help=of.TOKENIZER)
        of.add_options(command)
        command.set_defaults(run=of.run)
    return whole
