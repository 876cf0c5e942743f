"""The process of one contestant: it is told its task, and then when to advance.

    python -m experiments.contestants.worker NAME TASK

TASK is the fields of `Task` as JSON. It answers on stdout by lines of JSON: once it is ready, the
versions; and for each line on stdin, a number of steps, their seconds, after one step that does not
count, and its peak memory so far.
A mistake is one sentence on stderr and the exit status 2.
"""

import json
import sys
import time
from collections.abc import Sequence

from experiments.contestants import Task, prepare
from experiments.turns import answers_alone
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output


def main(argv: Sequence[str], output: Output) -> int:
    """Serves until stdin ends; returns the exit status."""
    name, task = argv
    answers = answers_alone()
    contestant = prepare(name, Task(**json.loads(task)))
    contestant.advance()
    contestant.wait()
    print(json.dumps({"versions": dict(contestant.versions)}), file=answers)
    for line in sys.stdin:
        contestant.advance()  # slower than those after it, when others had the machine before
        contestant.wait()
        start = time.perf_counter()
        for _ in range(json.loads(line)):
            contestant.advance()
        contestant.wait()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "memory": contestant.peak_memory()}), file=answers)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, sys.argv[1]))
