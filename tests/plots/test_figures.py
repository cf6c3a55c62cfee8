"""Figures: one look, and a caption that reaches readers who cannot see them."""

import base64
import re

import pytest
from matplotlib import rcParams

from efftx.plots import figures, new_figure, png


@pytest.fixture
def shown(monkeypatch):
    """The page's HTML for a figure; outside a notebook ``display`` would only print."""
    pages = []
    monkeypatch.setattr(figures, "display", pages.append)

    def show_and_read(figure, caption: str) -> str:
        figures.show(figure, caption)
        return pages[-1].data

    return show_and_read


def test_the_picture_in_the_page_is_the_figure(shown):
    figure, ax = new_figure(3, 2)
    ax.plot([0, 1])
    encoded = re.search(r"base64,([^\"]+)", shown(figure, "a line"))[1]
    assert base64.b64decode(encoded) == png(figure)
    assert png(figure).startswith(b"\x89PNG")


def test_caption_is_alternative_text_and_is_escaped(shown):
    figure, _ = new_figure(2, 1)
    page = shown(figure, 'keys with "q < k" & more')
    assert 'alt="keys with &quot;q &lt; k&quot; &amp; more"' in page
    assert page.count("&quot;q &lt; k&quot; &amp; more") == 2  # and as the caption


@pytest.mark.parametrize("width", [3, 9])
def test_width_on_the_page_follows_the_figure(width, shown):
    figure, _ = new_figure(width, 1)
    assert f"width: {96 * width}px; max-width: 100%" in shown(figure, "x")


def test_style_is_the_course_s():
    assert rcParams["axes.titlelocation"] == "left"
    _, axes = new_figure(4, 2, ncols=2)
    assert len(axes) == 2
    assert not axes[0].spines["top"].get_visible()
