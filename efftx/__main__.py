"""``python -m efftx``: see :mod:`efftx.command`."""

import sys

from efftx.command import main

if __name__ == "__main__":
    sys.exit(main())
