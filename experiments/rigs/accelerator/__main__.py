# PYTHON_ARGCOMPLETE_OK
"""The command ``python -m experiments.rigs.accelerator``."""

import sys

from experiments.rigs.accelerator.command import main
from jaxcnn.cli.exit_status import run_main

if __name__ == "__main__":
    sys.exit(run_main(main, "accelerator"))
