"""What README.md and CONTRIBUTING.md promise can be done.

Their links, and whether the map is that of the list: tests/notebooks/test_committed.py.
"""

import re
import tomllib
from pathlib import Path

import pytest

from efftx.results import recorded

ROOT = Path(__file__).resolve().parent.parent
README, CONTRIBUTING = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):.*##", MAKEFILE, re.MULTILINE))
INSTALL = "-m pip install -r requirements.txt"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def make_commands(page: str) -> set[str]:
    """What follows `make` in code spans and at the start of a line of a code block."""
    return set(re.findall(r"(?:`|^)make ([a-z]+)", page, re.MULTILINE))


def missing_paths(page: str) -> list[str]:
    """Files and folders in code spans (`source/course.toml`, `experiments/`) that are not there."""
    named = re.findall(r"`((?:source|efftx|tests|binder|docs)/[\w/.]*)`", page)
    return [path for path in named if "NN_stem" not in path and not (ROOT / path).exists()]


def test_the_package_in_five_lines_runs():
    (example,) = blocks(README, "python")
    assert len([line for line in example.splitlines() if line.strip()]) == 5
    names = {}
    exec(example, names)
    assert names["out"].shape == (8, 4096, 64)


def test_what_the_package_brings_is_what_it_asks_for():
    (said,) = re.findall(r"brings no more than ([\w, ]+)\.", README)
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"\w+", line)[0] for line in asked["dependencies"]]
    assert re.findall(r"\w+", said.replace(" and ", ", ")) == names


def test_readme_names_every_make_target_and_no_other():
    assert make_commands(README) == TARGETS


def test_contributing_names_only_make_targets():
    assert make_commands(CONTRIBUTING) <= TARGETS


@pytest.mark.parametrize("language", ["bat", "sh"])
def test_without_make_the_same_is_installed_and_opened(language):
    assert INSTALL.removeprefix("-m pip install ") in MAKEFILE
    steps = next(b for b in blocks(README, language) if "-m venv .venv" in b).splitlines()
    assert steps[1].endswith(INSTALL)
    page = steps[2].split()[-1].replace("\\", "/")
    assert f"default_url=/lab/tree/{page}" in MAKEFILE


@pytest.mark.parametrize("page", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_paths_that_are_named_exist(page):
    assert not missing_paths(page)


def test_the_picture_is_light():
    (picture,) = re.findall(r'<img src="([^"]+)"', README)
    assert (ROOT / picture).stat().st_size <= 150_000


def test_what_was_measured_is_what_the_results_say():
    names = "attention", "decoding", "text_quality", "sparse_quality", "reversible_bleu"
    attention, decoding, quality, sparse, bleu = map(recorded, names)
    million = next(
        case
        for case in recorded("million_tokens")["cases"]
        if (case["L"], case["n_hashes"]) == (2**20, 1)
    )
    depths = million["temporary_gib_by_depth"]
    by_rounds = {case["n_hashes"]: case for case in recorded("million_rounds")["cases"]}
    ours, *theirs = (
        next(row["seconds"] for row in recorded("opponents")["results"] if row["who"] == who)
        for who in (
            "efftx, both, sparse readout, 8 bits",
            "onnxruntime, dense, 8 bits",
            "onnxruntime, dense, 4 bits",
        )
    )
    per_token = {
        row["L"]: row["seconds"] / row["L"]
        for row in attention["results"]
        if (row["who"], row["pass"], row.get("n_hashes")) == ("efftx LSH", "both", 4)
    }
    medium, big, whole = (
        {row["who"]: row["seconds"] for row in decoding[part]["rows"]}
        for part in ("medium", "big", "whole")
    )
    sparsest = "both, sparse readout"
    less = {name: quality["variants"][name]["less_shared_qk"] for name in ("lsh_8", "lsh_1")}
    low, high = less["lsh_8"]["interval_95"]
    difference = bleu["reversible_less_plain"]
    more = {n: sparse["variants"][f"sparse_ff_{n}"]["perplexity_ratio"]["mean"] for n in (16, 64)}
    compiled = {
        row["target"]: row["peak_bytes"] / 2**30
        for row in recorded("accelerators")["results"]
        if row["program"].startswith("MILLION_TOKENS")
    }
    needle, recall = recorded("needle")["rounds"], recorded("recall")["variants"]
    asked = needle["16"]["answers_at_each_distance"]
    right = {n: round(asked * row["right"]["1000000"]) for n, row in needle.items()}
    far = {name: row["right"]["32768"]["16384"]["mean"] for name, row in recall.items()}
    scores = {name: row["scores"]["32768"] for name, row in recall.items()}
    for said in (
        f"right {right['16']} times of {asked} with 16 rounds",
        f"{right['1']} times with 1 round",
        f"({needle['16']['seconds']:.0f} and {needle['1']['seconds']:.0f} seconds a text",
        f"right in {far['lsh_8']:.0%} with 8 rounds".replace("%", " %"),
        f"in {far['window']:.0%} with a window".replace("%", " %"),
        f"a {scores['full'] / scores['lsh_8']:.0f}nd of the scores",
        f"{compiled['NVIDIA T4']:.1f} GiB at its peak on an NVIDIA T4",
        f"{compiled['TPU v5e']:.1f} GiB on a TPU v5e",
        f"{million['seconds'] / 60:.1f} minutes, {million['peak_rss_gib']:.1f} GiB in all",
        f"{by_rounds[8]['seconds'] / by_rounds[1]['seconds']:.1f} times as long as one",
        f"times as long as one and {by_rounds[8]['peak_rss_gib']:.1f} GiB",
        f"{theirs[0] / ours:.1f} times as fast as onnxruntime's products in eight bits",
        f"{theirs[1] / ours:.1f} times as in four",
        f"from {depths['6']:.2f} to {depths['24']:.2f} GiB",
        f"{per_token[262_144] / per_token[16_384]:.1f} times as long for each token",
        f"{medium['dense'] / medium[sparsest]:.1f} times as fast",
        f"{big['dense'] / big[sparsest]:.0f} times with the sizes of 10 billion",
        f"{1 / whole[sparsest]:.1f} tokens a second, and {1 / whole['dense']:.1f} with our own",
        f"{difference['mean']:.2f} BLEU".replace("-", "−"),
        "{:.2f} to {:.2f}".format(*difference["interval_95"]).replace("-", "−"),
        f"{less['lsh_8']['mean']:+.3f} bits per byte, {low:.3f} to {high:.3f}".replace("-", "−"),
        f"1 round: {less['lsh_1']['mean']:+.3f}",
        f"1 unit in 16: {more[16] - 1:.0%}".replace("%", " %"),
        f"1 in 64: {more[64] - 1:.0%}".replace("%", " %"),
    ):
        assert said in README, said


# The checks above can fail:


def test_what_is_missing_is_found():
    assert make_commands("`make coffee` or\nmake tea\nto make love") == {"coffee", "tea"}
    assert missing_paths("`source/course.toml` and `efftx/magic.py`") == ["efftx/magic.py"]
