"""The exercises' checks: one module per exercise, under its stem, one ``Check`` per function.

In a notebook: ``from efftx.check import lsh_attention as check``, then ``check.attend(attend)``.
A new exercise adds a module with a ``Check`` for each function: its right answer, its inputs from
small to large, and what it promises. Its mistakes are edits that stand beside the solution.
"""

from efftx.check.core import Check, CheckFailed

__all__ = ["Check", "CheckFailed"]
