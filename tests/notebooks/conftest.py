"""A course of one chapter and one exercise, in a folder of its own."""

import shutil

import pytest

from tools.course import ROOT, Course, load

STEM = "08_lsh_attention"
README = """# A course
<!-- badges:begin -->
<!-- badges:end -->
<!-- course map:begin -->
<!-- course map:end -->
"""
CHAPTER = """# %% [markdown]
# # 08 · LSH attention
#
# <!-- measured -->
#
# <!-- course map -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %% tags=["nbval-check-output"]
total = 40 + 2
assert total == 42
total

# %%
def double(x):
    assert x > 0
    return 2 * x

double(total)
"""
EXERCISE = '''# %% [markdown]
# # Exercise 08 · LSH attention
#
# <!-- measured -->

# %% tags=["setup"]
# the build writes the set-up cell here

# %% [markdown]
# ## Part 1: Double · ★☆☆ · 10 minutes

# %%
def double(x):
    """Twice x."""
    # SOLUTION
    twice = 2 * x
    return twice
    # END SOLUTION


# %% tags=["check"]
assert double(21) == 42

# %% [markdown] tags=["solution-only"]
# Multiplication, not addition.

# %% [markdown]
# ## Part 2: Halve · ★★☆ · 15 minutes

# %%
def halve(x):
    if x < 0:
        # SOLUTION
        return -halve(-x)
        # END SOLUTION
    # SOLUTION
    return x / 2
    # END SOLUTION
'''


@pytest.fixture
def course(tmp_path) -> Course:
    for folder in ("source/chapters", "source/exercises", "efftx"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("source/course.toml", "source/setup_cell.py", "efftx/__init__.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "README.md").write_text(README)
    (tmp_path / f"source/chapters/{STEM}.py").write_text(CHAPTER)
    (tmp_path / f"source/exercises/{STEM}.py").write_text(EXERCISE)
    return load(tmp_path)
