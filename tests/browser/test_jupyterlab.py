"""Chapter 08 as a reader meets it: in JupyterLab, in a browser, with its widget moved by hand."""

import json
import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

CHAPTER = "chapters/08_lsh_attention.ipynb"
SECONDS = 1000  # playwright counts in milliseconds
ERROR = "application/vnd.jupyter.error"
STDERR = "application/vnd.jupyter.stderr"


def open_notebook(page: Page, address: str) -> None:
    page.goto(address, timeout=60 * SECONDS)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60 * SECONDS)


def run_all(page: Page) -> None:
    """Through the menu, after clearing, so that no committed output is taken for a fresh one."""
    choose(page, "Edit", "Clear Outputs of All Cells")
    choose(page, "Run", "Run All Cells")
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    ran = re.compile(r"^(\[\d+\]:)?$")  # the set-up cell is folded up and shows no number
    expect(prompts).to_have_text([ran] * prompts.count(), timeout=180 * SECONDS)


def choose(page: Page, menu: str, entry: str) -> None:
    page.locator(".lm-MenuBar-item", has_text=re.compile(f"^{menu}$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{entry}$")).click()


def press_until_changed(page: Page, slider: Locator, picture: Locator, key: str) -> None:
    before = picture.get_attribute("src")
    slider.focus()
    page.keyboard.press(key)
    expect(picture).not_to_have_attribute("src", before, timeout=60 * SECONDS)


def failures(page: Page) -> list[str]:
    """Errors and warnings anywhere in the page, the insides of widgets included."""
    outputs = page.locator(f'[data-mime-type="{ERROR}"], [data-mime-type="{STDERR}"]')
    return outputs.all_inner_texts()


def test_chapter_runs_and_its_slider_moves_the_figure(lab, page, screenshots):
    open_notebook(page, lab.page(CHAPTER))
    page.screenshot(path=screenshots / "opened.png")
    run_all(page)
    assert failures(page) == []

    cell = page.locator(".jp-CodeCell", has=page.locator(".widget-slider")).first
    slider = cell.locator(".widget-slider .noUi-handle").first
    picture = cell.locator(".jp-OutputArea figure img").first
    picture.scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "widget.png")
    press_until_changed(page, slider, picture, "ArrowRight")
    page.screenshot(path=screenshots / "widget_moved.png")
    assert failures(page) == []

    photograph_figures(page, screenshots)
    assert output_types(save(page, lab.root / CHAPTER)) >= {"stream", "display_data"}
    assert "error" not in output_types(lab.root / CHAPTER)


def save(page: Page, path: Path) -> Path:
    unsaved = page.locator(".lm-TabBar-tab.jp-mod-dirty")
    expect(unsaved).not_to_have_count(0)
    choose(page, "File", "Save Notebook")
    expect(unsaved).to_have_count(0)
    return path


def output_types(notebook: Path) -> set[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return {output["output_type"] for cell in cells for output in cell.get("outputs", [])}


def photograph_figures(page: Page, folder: Path) -> None:
    for number, figure in enumerate(page.locator(".jp-OutputArea figure").all()):
        figure.screenshot(path=folder / f"figure_{number:02d}.png")
