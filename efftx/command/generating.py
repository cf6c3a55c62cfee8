"""``python -m efftx generate``."""

import argparse
from pathlib import Path

import jax

from efftx.models import by_layer, generate, load_model
from efftx.training.documents import Tokens
from efftx.validation import require

HELP = "let a trained model go on from a prompt"
ABOUT = """\
Let a trained model go on from a prompt.

    --temperature 0 takes the likeliest token each time; 1 draws as the model believes; between is
    more careful.
    --top-p 0.9 draws from the likeliest tokens only, which together have 0.9 of the probability.

Prompt and answer together are at most as long as the windows that the model was trained on.
"""
TOKENIZER = "the file that the model was trained with, if there was one"


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("run_file", type=Path, metavar="FILE", help="that train wrote")
    command.add_argument("--prompt", required=True, help="what to go on from")
    command.add_argument("--new", type=int, help="tokens; default: 200, or as many as fit")
    command.add_argument("--temperature", type=float, default=0.8, help="default %(default)s")
    command.add_argument("--top-p", type=float, default=0.95, help="default %(default)s")
    command.add_argument("--seed", type=int, default=0, help="another one draws others")


def run(chosen: argparse.Namespace) -> None:
    model, tokens = load_model(chosen.run_file), Tokens(chosen.tokenizer)
    require(
        tokens.vocab == model.vocab,
        f"the model knows {model.vocab} tokens and the text is cut into {tokens.vocab} different "
        "ones: pass the --tokenizer that it was trained with, or none.",
    )
    prompt = tokens.encoded(chosen.prompt.encode())
    require(len(prompt) >= 1, "the prompt is empty: write at least a letter.")
    room = model.embedding.max_len - len(prompt)
    how = {"temperature": chosen.temperature, "top_p": chosen.top_p}
    n_new = min(200, max(room, 1)) if chosen.new is None else chosen.new
    written = generate(by_layer(model), prompt, n_new, jax.random.key(chosen.seed), **how)
    print(chosen.prompt + tokens.decoded(written))
