"""What the course's programs would take on a TPU and on a GPU, as their own compilers plan it."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from efftx.plots.figures import course_style, new_figure

GIB = 2**30
HEADING = "compiled for, not run on"


def devices_of(record: dict) -> list[str]:
    return sorted({row["target"] for row in record["results"]})


def compiled_for(record: dict, containing: str = "") -> dict[str, dict[str, dict]]:
    """By program, of those whose name has this in it, then by device: the row of the record."""
    rows = [row for row in record["results"] if containing in row["program"]]
    found: dict[str, dict[str, dict]] = {row["program"]: {} for row in rows}
    for row in rows:
        found[row["program"]][row["target"]] = row
    return found


def lines_of_compiled(record: dict, containing: str = "") -> Iterator[str]:
    """A table of text: GiB at the peak and seconds to compile, a column for each device.

    ``record`` is ``recorded("accelerators")``; where a compiler refused a program it says so.
    """
    devices, found = devices_of(record), compiled_for(record, containing)
    width = max(map(len, (HEADING, *found)))
    yield f"{HEADING:{width}}" + "".join(f"{device:>20}" for device in devices)
    for program, rows in found.items():
        cells = "".join(f"{cell(rows.get(device)):>20}" for device in devices)
        yield f"{program:{width}}{cells}"


def cell(row: dict | None) -> str:
    if row is None:
        return "–"
    if "failed" in row:
        return "does not compile"
    return f"{row['peak_bytes'] / GIB:.2f} GiB {row['compile_seconds']:5.0f} s"


@course_style()
def draw_compiled(record: dict, containing: str = "", *, budget: int | None = None) -> Figure:
    """A bar for each program and device, GiB at the peak; a line at the ``budget`` of bytes."""
    devices, found = devices_of(record), compiled_for(record, containing)
    figure, ax = new_figure(7.5, 1.2 + 0.42 * len(found))
    height = 0.8 / len(devices)
    for n, device in enumerate(devices):
        gib = [rows.get(device, {}).get("peak_bytes", 0) / GIB for rows in found.values()]
        places = [place + n * height for place in range(len(found))]
        ax.barh(places, gib, height, label=device)
    ax.set_yticks([place + (len(devices) - 1) * height / 2 for place in range(len(found))], found)
    ax.invert_yaxis()
    ax.set(xlabel="GiB at the peak", title=HEADING)
    if budget is not None:
        ax.axvline(budget / GIB, color="grey", linestyle="--")
    ax.legend()
    return figure
