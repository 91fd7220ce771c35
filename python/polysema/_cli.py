"""The command `polysema`."""

import sys

from . import _lib


def main() -> None:
    """Runs the command line program."""
    sys.exit(_lib.run_command(["polysema", *sys.argv[1:]]))
