"""The largest length at which a contender completes a run, in so much memory and time."""

import time
from collections.abc import Callable

DOUBT = 1.25  # lengths that should need up to so much more memory than there is are tried, too
LONGEST = 2**24


def largest(start: Callable, measured: dict, most_gib: int, most_seconds: float) -> dict:
    """From the largest power of two that should fit downwards, until a step completes.

    ``start(length, most_gib=…)`` starts a worker. ``measured`` is the row of the longest run that
    is known; what a longer one should take is told from it, time and memory growing with length.
    """
    powers = [2**k for k in range(LONGEST.bit_length()) if measured["L"] < 2**k]
    tried = [
        length
        for length in powers
        if process_gib(measured, length) <= DOUBT * most_gib
        and seconds(measured, length) <= most_seconds
    ]
    found = {"L": measured["L"], "most_gib": most_gib, "most_seconds": most_seconds}
    untried = min(set(powers) - set(tried))
    found["untried"] = {
        "L": untried,
        "gib": round(process_gib(measured, untried), 1),
        "seconds": round(seconds(measured, untried)),
    }
    found["attempts"] = []
    for length in reversed(tried):
        found["attempts"].append(attempt(start, length, most_gib, most_seconds))
        if "seconds" in found["attempts"][-1]:
            return found | {"L": length}
    return found


def attempt(start: Callable, length: int, most_gib: int, most_seconds: float) -> dict:
    worker = start(length, most_gib=most_gib)
    started = time.monotonic()
    answer = worker.attempt("step", most_seconds)
    worker.stop()
    late = time.monotonic() - started >= most_seconds
    return {"L": length} | (answer or {"failed": "out of time" if late else "out of memory"})


def process_gib(measured: dict, length: int) -> float:
    """What was there before the run is there at any length."""
    more = measured["grown_mib"] * (length / measured["L"] - 1)
    return (measured["process_mib"] + more) / 1024


def seconds(measured: dict, length: int) -> float:
    return measured["seconds"] * length / measured["L"]
