# PYTHON_ARGCOMPLETE_OK
"""The command ``python -m jaxcnn``."""

import sys

from jaxcnn.cli.commands import main
from jaxcnn.cli.exit_status import run_main

if __name__ == "__main__":
    sys.exit(run_main(main, "jaxcnn"))
