"""The command ``python -m experiments.faults``."""

import sys

from experiments.commandline import run_main
from experiments.faults.command import main

if __name__ == "__main__":
    sys.exit(run_main(main, "faults"))
