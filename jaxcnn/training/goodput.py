"""Goodput: the share of a run's wall time that went to useful steps, over all of its starts.

Useful are the steps that count in the end. What else takes time is the start-up, compilation,
waiting for data, evaluation, saving, and the steps that an earlier start had made already when it
was killed. (The word is that of Google's ML Goodput: productive time over elapsed time.)
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from jaxcnn.training.activity import Activity

WORDS = {
    Activity.STEPS: "useful steps",
    Activity.START_UP: "start-up",
    Activity.COMPILATION: "compilation",
    Activity.DATA: "waiting for data",
    Activity.EVALUATION: "evaluation",
    Activity.SAVING: "saving",
    Activity.REPEATED_STEPS: "steps done again",
}
"""What each activity is called."""


@dataclasses.dataclass(frozen=True)
class EarlierStarts:
    """What is known of the starts of a run before this one.

    A start that was killed is known up to its last record.

    Attributes:
      count: how many there were.
      spent: seconds by activity, of all together.
      furthest: the last step that one of them recorded; what is made up to it is made again.
    """

    count: int = 0
    spent: Mapping[str, float] = dataclasses.field(default_factory=dict)
    furthest: int = 0

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]]) -> "EarlierStarts":
        """From the lines of ``timings.jsonl``: the last one of each start has its sums."""
        last: dict[int, Mapping[str, float]] = {}
        furthest = 0
        for line in lines:
            furthest = max(furthest, line["step"])
            start, spent = line.get("start"), line.get("spent")
            if isinstance(start, int) and isinstance(spent, Mapping):
                last[start] = {k: v for k, v in spent.items() if isinstance(v, int | float)}
        return cls(len(last), _total(last.values()), furthest)


def goodput(earlier: EarlierStarts, spent: Mapping[str, float]) -> dict[str, Any]:
    """The share of useful steps in [0, 1], seconds by activity, and the number of starts.

    Args:
      earlier: the starts before this one.
      spent: seconds by activity of this one.
    """
    seconds = _total([earlier.spent, spent])
    whole = sum(seconds.values())
    return {
        "share": seconds[Activity.STEPS] / whole if whole else 0.0,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "starts": earlier.count + 1,
    }


def goodput_text(found: Mapping[str, Any]) -> str:
    """What ``goodput`` found, in one line."""
    seconds, starts = found["seconds"], found["starts"]
    others = ", ".join(
        f"{words} {seconds[kind]:.1f} s" for kind, words in WORDS.items() if kind != Activity.STEPS
    )
    return (
        f"Goodput: {found['share']:.1%} of {sum(seconds.values()):.1f} s in useful steps; {others}"
        f"{f'; over {starts} starts' if starts > 1 else ''}."
    )


def _total(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total = dict.fromkeys(map(str, Activity), 0.0)
    for part in parts:
        for name, seconds in part.items():
            total[name] = total.get(name, 0.0) + seconds
    return total
