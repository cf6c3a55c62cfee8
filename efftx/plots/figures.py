"""One way to make a figure and one way to show it, so that all of them look and read alike.

Importing this sets matplotlib's style: titles and legends read it when they are made.
"""

import base64
import html
import io
from pathlib import Path

from IPython.display import HTML, display
from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image

STYLE = Path(__file__).with_name("efftx.mplstyle")
DOTS_PER_INCH = 144
PAGE_WIDTH = 9.0  # inches; a full-width figure, and 864 px on the page

# Light enough for black letters; Paul Tol's "light" scheme, safe for colour-blind readers.
BUCKET_COLOURS = (
    "#77AADD",
    "#EE8866",
    "#EEDD88",
    "#44BB99",
    "#FFAABB",
    "#99DDFF",
    "#BBCC33",
    "#DDDDDD",
)
INK, ORANGE = "#333333", "#D55E00"
MARKERS = "osD^v"

style.use(STYLE)


def bucket_colour(bucket) -> str:
    """The colour of a bucket; with many buckets they come again."""
    return BUCKET_COLOURS[bucket % len(BUCKET_COLOURS)]


def letter(character: str) -> str:
    """The character, or a sign for white space, which would leave its cell empty."""
    return {" ": "␣", "\n": "↵", "\t": "⇥"}.get(character, character)


def new_figure(width: float | int = PAGE_WIDTH, height: float | int = 3.5, **subplots):
    """A figure in the course's style and its axes, as from ``plt.subplots``; sizes in inches."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(**subplots)


def show(figure: Figure, caption: str) -> None:
    """Display the figure with its caption, which is also its alternative text.

    The caption says what can be seen, so that a reader who cannot see it misses nothing. JupyterLab
    ignores alternative text on plain image outputs; an <img> keeps it.
    """
    picture = base64.b64encode(png(figure)).decode()
    width = round(96 * figure.get_figwidth())
    text = html.escape(caption, quote=True)
    display(
        HTML(
            '<figure style="margin: 0.5em 0">'
            f'<img src="data:image/png;base64,{picture}" alt="{text}" '
            f'style="width: {width}px; max-width: 100%; height: auto">'
            f'<figcaption style="max-width: {width}px"><em>{text}</em></figcaption></figure>'
        )
    )


def png(figure: Figure) -> bytes:
    """The figure as a PNG file of at most 256 colours: no eye sees it, and it takes a third."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    picture = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(small := io.BytesIO(), format="png", optimize=True)
    return small.getvalue()
