"""Contestants measured side by side: in turns, so that what slows the machine slows all of them.

A ratio is that of two contestants in the same round. It is told by its median over the rounds,
unless the spread swallows it: where the middle half of the rounds' ratios holds 1, none is told.
"""

import contextlib
import dataclasses
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.contestants import Task, environment
from experiments.turns import Contestant, EndedError, contestant
from jaxcnn.errors import UserError

_WORKER = "experiments.contestants.worker"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one contestant did.

    Attributes:
      name: of the contestant.
      versions: of what computed it.
      seconds: a step's, in each round.
      memory: the most bytes in use, on its device or by its process.
    """

    name: str
    versions: Mapping[str, str]
    seconds: Sequence[float]
    memory: int

    def images_per_second(self, batch_size: int) -> tuple[float, float, float]:
        """The median over the rounds, the slowest round's and the fastest's."""
        middle = statistics.median(self.seconds)
        return batch_size / middle, batch_size / max(self.seconds), batch_size / min(self.seconds)

    def ratio(self, other: "Measured") -> float | None:
        """How many times as fast as the other this is; None where the spread swallows it."""
        ratios = sorted(b / a for a, b in zip(self.seconds, other.seconds, strict=True))
        if len(ratios) > 1:
            lower, _, upper = statistics.quantiles(ratios, n=4, method="inclusive")
            if lower <= 1 <= upper:
                return None
        return statistics.median(ratios)


def compare(
    names: Sequence[str], task: Task, *, rounds: int, steps: int, large_pages: bool = False
) -> list[Measured]:
    """Measures contestants in turns.

    Args:
      names: of `experiments.contestants`.
      task: of all of them.
      rounds: in each of which all have their turn, each time another first.
      steps: in a turn.
      large_pages: for peers too; our commands start in them.

    Raises:
      UserError: one of them cannot do the task; its sentence is passed on.
    """
    given = json.dumps(dataclasses.asdict(task))
    versions: dict[str, Mapping[str, str]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    memory: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        processes: dict[str, Contestant] = {}
        for name in names:  # one after the other, as they compile
            processes[name] = stack.enter_context(
                contestant(_WORKER, name, given, **environment(name, large_pages=large_pages))
            )
            with _sentence(name):
                versions[name] = processes[name].answer()["versions"]
        for i in range(rounds):
            first = i % len(names)
            for name in (*names[first:], *names[:first]):
                with _sentence(name):
                    answer = processes[name].tell(steps)
                seconds[name].append(answer["seconds"] / steps)
                memory[name] = answer["memory"]
    return [Measured(name, versions[name], seconds[name], memory[name]) for name in names]


@contextlib.contextmanager
def _sentence(name: str) -> Iterator[None]:
    try:
        yield
    except EndedError as error:
        if error.status == 2:  # a mistake, in a sentence of its own
            raise UserError(error.reason) from error
        raise UserError(f"{name} ended with status {error.status}: {error.reason}") from error


def lines(measured: Sequence[Measured], task: Task) -> list[dict[str, Any]]:
    """What is recorded of each contestant, JSON-able."""
    result = []
    for each in measured:
        middle, slowest, fastest = each.images_per_second(task.batch_size)
        result.append(
            {
                "contestant": each.name,
                "versions": dict(each.versions),
                "images_per_second": middle,
                "images_per_second_slowest": slowest,
                "images_per_second_fastest": fastest,
                "milliseconds_per_step": 1000 * statistics.median(each.seconds),
                "peak_memory_bytes": each.memory,
                "times_as_fast_as": {
                    other.name: each.ratio(other) for other in measured if other is not each
                },
            }
        )
    return result


def table(contestants: Sequence[Mapping[str, Any]]) -> str:
    """The first contestant beside the others, as a person reads it.

    Args:
      contestants: as `lines` gives them.
    """
    first = contestants[0]
    rows = [
        ("", "images/s", "slowest to fastest", "ms a step", "peak GiB", f"{first['contestant']} is")
    ]
    for each in contestants:
        name = each["contestant"]
        slowest, fastest = (each[f"images_per_second_{end}"] for end in ("slowest", "fastest"))
        ratio = first["times_as_fast_as"].get(name)
        told = "not told apart" if ratio is None else f"{ratio:.2f} times"
        rows.append(
            (
                name,
                f"{each['images_per_second']:.2f}",
                f"{slowest:.2f} to {fastest:.2f}",
                f"{each['milliseconds_per_step']:.0f}",
                f"{each['peak_memory_bytes'] / 2**30:.2f}",
                "" if each is first else told,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def summary(results: Sequence[Mapping[str, Any]]) -> str:
    """Several recorded comparisons as one table in Markdown: images/s, and how many times a peer's.

    Args:
      results: as ``experiments.benchmark --output`` writes them.
    """
    peers = list(
        dict.fromkeys(each["contestant"] for r in results for each in r["contestants"][1:])
    )
    head = ["network", "step", "jaxcnn", *peers]
    rows = [head, ["-" * len(name) for name in head]]
    for result in results:
        first, *others = result["contestants"]
        cells = {}
        for each in others:
            ratio = first["times_as_fast_as"][each["contestant"]]
            times = "not told apart" if ratio is None else f"×{ratio:.2f}"
            cells[each["contestant"]] = f"{each['images_per_second']:.2f} ({times})"
        step = f"{result['mode']}, batch {result['batch_size']}"
        own = f"{first['images_per_second']:.2f}"
        rows.append([result["model"], step, own, *(cells.get(peer, "") for peer in peers)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
