"""The colours and signs of all pictures, safe for colour-blind readers."""

# Light enough for black letters; Paul Tol's "light" scheme, safe for colour-blind readers.
BUCKET_COLOURS = (
    "#77AADD",
    "#EE8866",
    "#EEDD88",
    "#44BB99",
    "#FFAABB",
    "#99DDFF",
    "#BBCC33",
    "#DDDDDD",
)
INK, QUIET, GREY = "#333333", "#666666", "#999999"
BLUE, PALE_BLUE, ORANGE = "#0072B2", "#BBD5E8", "#D55E00"
MARKERS = "osD^v"


def bucket_colour(bucket) -> str:
    """The colour of a bucket; with many buckets they come again."""
    return BUCKET_COLOURS[bucket % len(BUCKET_COLOURS)]


def letter(character: str) -> str:
    """The character, or a sign for white space, which would leave its cell empty."""
    return {" ": "␣", "\n": "↵", "\t": "⇥"}.get(character, character)
