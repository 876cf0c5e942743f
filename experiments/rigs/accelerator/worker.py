"""The process that computes: it reads orders from stdin and answers on stdout, in lines of JSON.

    python -m experiments.rigs.accelerator.worker plain|deterministic|torch

An order is ``{"function": "MODULE.FUNCTION", "arguments": {...}}``, an answer ``{"result": ...}``
or ``{"error": "TYPE: MESSAGE"}``.
"""

import importlib
import json
import sys
from typing import Any

from experiments.turns import answers_alone
from jaxcnn.training.determinism import demand_determinism

_MOST = 600  # characters of a message: XLA's can have pages


def main() -> None:
    """Serves until stdin ends."""
    (mode,) = sys.argv[1:]
    answers = answers_alone()
    if mode == "deterministic":
        demand_determinism()
    for line in sys.stdin:
        print(json.dumps(_answer(**json.loads(line))), file=answers)


def _answer(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    module, _, name = function.partition(".")
    try:
        called = getattr(importlib.import_module(f"experiments.rigs.accelerator.{module}"), name)
        return {"result": called(**arguments)}
    except Exception as error:  # whatever it is, the other steps go on
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:_MOST]}"}


if __name__ == "__main__":
    main()
