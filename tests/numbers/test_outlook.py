"""Milestones have a source, a date, and the value that their source gives."""

import re

import pytest

from efftx.numbers import outlook as numbers
from efftx.numbers.outlook import LENGTHS, SHARES, Milestone

ALL = [*LENGTHS, *SHARES]


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_every_point_has_a_source_and_a_date(one):
    assert re.fullmatch(r"https://(arxiv\.org/abs/\d{4}\.\d{5}|github\.com/[\w./-]+)", one.source)
    assert 2018 <= one.year <= 2026
    assert 1 <= one.month <= 12


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_no_point_is_dated_before_its_paper(one):
    """An arXiv number begins with its year and month."""
    if "arxiv" in one.source:
        year, month = re.search(r"/(\d\d)(\d\d)\.", one.source).groups()
        assert (one.year, one.month) == (2000 + int(year), int(month))


def test_a_share_is_what_is_used_of_what_there_is():
    assert numbers.active("a", 2024, 1, (5, 20), "https://x").value == 0.25
    shares = {one.name: one.value for one in SHARES}
    quoted = {"DeepSeek-V3": 0.055, "gpt-oss-120b": 0.044, "Kimi K2": 0.032}  # as chapter 10 says
    assert {name: round(shares[name], 3) for name in quoted} == quoted


def test_the_table_has_a_row_for_each_in_the_order_of_time():
    late = Milestone("late", 2025, 2, 2e6, "https://b")
    early = Milestone("early", 2024, 11, 1e3, "https://a", tested=True)
    assert numbers.table([late, early], "Tokens", ",.0f").splitlines()[2:] == [
        "| early (tried) | 2024-11 | 1,000 | <https://a> |",
        "| late | 2025-02 | 2,000,000 | <https://b> |",
    ]
