"""Chapter 15's milestones, each with its date and its source."""

from collections.abc import Sequence
from dataclasses import dataclass

MILLION = 2**20
CARD = "https://github.com/meta-llama/llama-models/blob/main"


@dataclass(frozen=True)
class Milestone:
    """A number that was published, when, and where; `tested` if it was tried and not offered."""

    name: str
    year: int
    month: int
    value: float | int
    source: str
    tested: bool = False
    below: bool = False  # where its name stands in the picture

    @property
    def date(self) -> float | int:
        """In years, the middle of the month."""
        return self.year + (self.month - 0.5) / 12


def arxiv(number: str) -> str:
    return f"https://arxiv.org/abs/{number}"


def active(
    name: str,
    year: int,
    month: int,
    billions: tuple[float | int, float | int],
    source: str,
    below: bool = False,
) -> Milestone:
    """The share of its parameters that a token uses, from those used and those there are."""
    used, there = billions
    return Milestone(name, year, month, used / there, source, below=below)


LENGTHS = (
    Milestone("BERT", 2018, 10, 512, arxiv("1810.04805")),
    Milestone("GPT-2", 2019, 2, 1024, "https://github.com/openai/gpt-2/blob/master/src/model.py"),
    Milestone("Reformer, enwik8", 2020, 1, 65_536, arxiv("2001.04451"), tested=True),
    Milestone("Llama 2", 2023, 7, 4096, f"{CARD}/README.md", below=True),
    Milestone("Mixtral 8x7B", 2024, 1, 32_768, arxiv("2401.04088")),
    Milestone("Gemini 1.5 Pro", 2024, 3, 10**7, arxiv("2403.05530"), tested=True),
    Milestone("DeepSeek-V2", 2024, 5, 131_072, arxiv("2405.04434")),
    Milestone("Llama 3.1", 2024, 7, 131_072, arxiv("2407.21783"), below=True),
    Milestone("Qwen2.5-1M", 2025, 1, 10**6, arxiv("2501.15383")),
    Milestone("Llama 4 Scout", 2025, 4, 10**7, f"{CARD}/models/llama4/MODEL_CARD.md"),
    Milestone("OOMB, training", 2026, 2, 4 * 10**6, arxiv("2602.02108"), tested=True, below=True),
    Milestone("DeepSeek-V4", 2026, 6, 10**6, arxiv("2606.19348"), below=True),
)
SHARES = (
    active("Mixtral 8x7B", 2024, 1, (13, 47), arxiv("2401.04088")),
    active("DeepSeek-V2", 2024, 5, (21, 236), arxiv("2405.04434")),
    active("Llama 3.1, dense", 2024, 7, (405, 405), arxiv("2407.21783")),
    active("DeepSeek-V3", 2024, 12, (37, 671), arxiv("2412.19437")),
    active(
        "Llama 4 Maverick", 2025, 4, (17, 400), f"{CARD}/models/llama4/MODEL_CARD.md", below=True
    ),
    active("Kimi K2", 2025, 7, (32, 1000), "https://github.com/MoonshotAI/Kimi-K2", below=True),
    active("gpt-oss-120b", 2025, 8, (5.1, 117), "https://github.com/openai/gpt-oss"),
    active("DeepSeek-V4-Pro", 2026, 6, (49, 1600), arxiv("2606.19348")),
)


def table(milestones: Sequence[Milestone], what: str, form: str) -> str:
    """The points as a table of Markdown, each with its source; ``form`` writes a value."""
    rows = [
        f"| {one.name}{' (tried)' * one.tested} | {one.year}-{one.month:02} | "
        f"{format(one.value, form)} | <{one.source}> |"
        for one in sorted(milestones, key=lambda one: one.date)
    ]
    return "\n".join([f"| | Date | {what} | Where it says so |", "|---|---|---:|---|", *rows])
