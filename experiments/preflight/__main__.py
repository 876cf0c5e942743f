# PYTHON_ARGCOMPLETE_OK
"""The command ``python -m experiments.preflight``."""

import sys

from experiments.preflight.command import main

if __name__ == "__main__":
    sys.exit(main())
