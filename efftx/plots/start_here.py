"""The pictures of chapter 00: what attention weighs, and what few scores are worth."""

from matplotlib.figure import Figure

from efftx.plots.figures import course_style, new_figure

QUIET = "#555555"
CARDS = {12e9: "the talk's graphics card, 12 GB", 80e9: "a large graphics card, 80 GB"}
LSH, FULL = "C1", "C0"


@course_style()
def draw_memory(weighed: dict[str, dict[int, int]], text_length: int) -> Figure:
    """Working memory against length, a line for each kind of attention, both axes logarithmic.

    ``weighed`` holds bytes by length by name; ``text_length`` is marked as "this text".
    """
    figure, ax = new_figure(7.5, 4.2)
    for (name, size), colour, marker in zip(weighed.items(), (FULL, LSH), "os", strict=True):
        ax.loglog(list(size), list(size.values()), f"{marker}-", color=colour, label=name)
    for size, name in CARDS.items():
        ax.axhline(size, color=QUIET, linewidth=1, linestyle="--")
        ax.text(2**10, size * 1.2, name, color=QUIET, fontsize=9)
    ax.axvline(text_length, color=QUIET, linewidth=1, linestyle=":")
    ax.text(text_length, 1.5e6, "this text ", rotation=90, ha="right", color=QUIET, fontsize=9)
    ax.set_xscale("log", base=2)
    ax.set_yticks([1e6, 1e9, 1e12], ["1 MB", "1 GB", "1 TB"])
    ax.minorticks_off()
    ax.set(ylim=(1e6, 5e13), xlabel="length of the text, L", ylabel="working memory of one head")
    ax.legend(loc="upper left")
    return figure


@course_style()
def draw_guesses(few: dict[int, float], full: tuple[int, float], commonest: float) -> Figure:
    """The share of bytes guessed against the number of scores for each.

    ``few`` holds the share by number of scores, for 1, 2, 4, … rounds; ``full`` is the pair of
    full attention, ``commonest`` the share of the most frequent byte.
    """
    figure, ax = new_figure(7.5, 3.8)
    x, y = [*few, full[0]], [*few.values(), full[1]]
    ax.plot(x, y, color="#BBBBBB", zorder=1)
    ax.plot(x[:-1], y[:-1], "s", color=LSH, markersize=7)
    ax.plot(*full, "o", color=FULL, markersize=8)
    names = ["LSH attention, 1 round", *(f"{2**n} rounds" for n in range(1, len(few)))]
    for place, name in zip(few.items(), names, strict=True):
        ax.annotate(name, place, (2, -17), textcoords="offset points", color=LSH)
    ax.annotate(
        "full attention", full, (0, -18), textcoords="offset points", ha="right", color=FULL
    )
    ax.axhline(commonest, color=QUIET, linewidth=1, linestyle="--")
    ax.annotate(
        "always guessing the commonest byte",
        (x[0], commonest),
        (2, 5),
        textcoords="offset points",
        color=QUIET,
    )
    ax.set_xscale("log", base=2)
    ax.set_xticks(x, [f"{n:,}" for n in x])
    ax.set_yticks([0, 0.2, 0.4, 0.6], ["0", "20%", "40%", "60%"])
    ax.set(ylim=(0, 0.68), xlabel="scores for each byte", ylabel="next bytes guessed")
    return figure


@course_style()
def draw_progress(parts: dict[str, dict[str, bool]]) -> Figure:
    """A row for each exercise, a square for each of its functions, filled where it has passed."""
    figure, ax = new_figure(7.5, 0.3 * len(parts) + 0.3)
    for row, functions in enumerate(parts.values()):
        for column, done in enumerate(functions.values()):
            face = LSH if done else "none"
            ax.scatter(column, row, marker="s", s=110, facecolor=face, edgecolor=QUIET, linewidth=1)
    names = [stem.replace("_", " ") for stem in parts]
    ax.set_yticks(range(len(parts)), names)
    ax.set_xticks([])
    ax.set(xlim=(-0.6, max(map(len, parts.values())) + 1), ylim=(len(parts) - 0.4, -0.6))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure
