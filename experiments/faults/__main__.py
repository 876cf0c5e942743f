# PYTHON_ARGCOMPLETE_OK
"""The command ``python -m experiments.faults``."""

import sys

from experiments.faults.command import main
from jaxcnn.cli.exit_status import run_main

if __name__ == "__main__":
    sys.exit(run_main(main, "faults"))
