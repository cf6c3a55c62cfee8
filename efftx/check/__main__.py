"""``python -m efftx.check`` prints how far you are with the exercises."""

from efftx.check.map import as_text, course_parts
from efftx.check.progress import file

print(as_text(course_parts()))
print(f"kept in {file()}" if file() else "EFFTX_PROGRESS is off: nothing is kept")
