"""One way to make a figure and one way to show it, so that all of them look and read alike.

What makes a figure is decorated with `course_style`: titles and legends read the style when they
are made. Importing this changes nothing in the reader's own matplotlib.
"""

import base64
import html
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from IPython.display import HTML, display
from matplotlib import rc_context, rc_params_from_file
from matplotlib.figure import Figure
from PIL import Image

STYLE = rc_params_from_file(Path(__file__).with_name("efftx.mplstyle"), use_default_template=False)
DOTS_PER_INCH = 144
PAGE_WIDTH = 9.0  # inches; a full-width figure, and 864 px on the page


@contextmanager
def course_style() -> Iterator[None]:
    """The course's style within a block or, as a decorator, within a function; then as before."""
    with rc_context(STYLE):
        yield


@course_style()
def new_figure(width: float | int = PAGE_WIDTH, height: float | int = 3.5, **subplots):
    """A figure in the course's style and its axes, as from ``plt.subplots``; sizes in inches.

    What is drawn on it takes the style within `course_style` only.
    """
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(**subplots)


def show(figure: Figure, caption: str) -> None:
    """Display the figure with its caption, which is also its alternative text.

    The caption says what can be seen, so that a reader who cannot see it misses nothing. JupyterLab
    ignores alternative text on plain image outputs; an <img> keeps it.
    """
    display(page(figure, caption))


def page(figure: Figure, caption: str) -> HTML:
    """What `show` displays."""
    picture = base64.b64encode(png(figure)).decode()
    width = round(96 * figure.get_figwidth())
    text = html.escape(caption, quote=True)
    return HTML(
        '<figure style="margin: 0.5em 0">'
        f'<img src="data:image/png;base64,{picture}" alt="{text}" '
        f'style="width: {width}px; max-width: 100%; height: auto">'
        f'<figcaption style="max-width: {width}px"><em>{text}</em></figcaption></figure>'
    )


@course_style()
def png(figure: Figure) -> bytes:
    """The figure as a PNG file of at most 256 colours: no eye sees it, and it takes a third."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    picture = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(small := io.BytesIO(), format="png", optimize=True)
    return small.getvalue()
