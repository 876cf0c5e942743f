"""What the devices of a compiled step exchange, counted in the program that XLA made of it."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

# By kind, what each of n devices sends, and receives as much, for a result of so many bytes on
# each, by the algorithms that send least. On a ring a device passes on all parts of an array but
# one, for a sum twice: while the parts are added up, and while their sums are handed round.
_SENT: dict[str, Callable[[int, int], Fraction]] = {
    "all-reduce": lambda size, n: Fraction(2 * (n - 1), n) * size,
    "all-gather": lambda size, n: Fraction(n - 1, n) * size,
    "reduce-scatter": lambda size, n: Fraction(n - 1) * size,  # the result is one part of n
    "all-to-all": lambda size, n: Fraction(n - 1, n) * size,
    "ragged-all-to-all": lambda size, n: Fraction(n - 1, n) * size,
    "collective-permute": lambda size, n: Fraction(size if n > 1 else 0),
    "collective-broadcast": lambda size, n: Fraction(size if n > 1 else 0),
}

_COMPUTATION = re.compile(r"(?P<entry>ENTRY )?%(?P<name>\S+) \(.*\{")
_INSTRUCTION = re.compile(
    r" +(ROOT )?%(?P<name>\S+) = (?P<type>.*?) (?P<operation>[a-z][\w-]*)\((?P<rest>.*)"
)
_ARRAY = re.compile(r"\b(?:pred|[a-z]+(?P<bits>\d+)\w*)\[(?P<shape>[\d,]*)\]")
_NAME = re.compile(r"%([\w.-]+)")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|\w+_computations?)=(\{.*?\}|%[\w.-]+)")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_GROUPS = re.compile(
    r"replica_groups=(?:\{(?:\{(?P<listed>[\d,]*)\}.*?)?\}|\[\d+,(?P<counted>\d+)\]<=|"
    r"mesh\[(?P<mesh>.*?)\].*? \{(?P<axes>.*?)\})"
)
_MOVED = re.compile(r"\{(\d+),(\d+)\}")


@dataclasses.dataclass(frozen=True)
class Exchange:
    """What is exchanged in one way among as many devices in one run of a program.

    Attributes:
      kind: XLA's name of it.
      devices: in a group that exchanges something within itself.
      size: bytes of the result on each device, of all exchanges of this kind among so many.
    """

    kind: str
    devices: int
    size: int

    @property
    def sent(self) -> Fraction:
        """Bytes that each device sends, and receives as many."""
        return _SENT[self.kind](self.size, self.devices)


def exchanged_bytes(program: str) -> dict[str, int]:
    """The bytes that each device sends in one run of a program, by the kind of exchange.

    It receives as many. Within a group of n devices that is, of an array that each of them has in
    the end, 2 (n - 1) / n of its bytes for an ``all-reduce`` and (n - 1) / n for an ``all-gather``;
    of one that each has a part of, (n - 1) / n for a ``reduce-scatter`` and an ``all-to-all``; and
    for a ``collective-permute`` all of what is sent on, where a device that sends nothing counts as
    those that do. No algorithm sends less.

    What is within a loop counts as often as XLA knows that the loop turns, and once where it does
    not know; of a choice, every branch counts.

    Args:
      program: as ``compiled.as_text()`` gives it.

    Returns:
      From XLA's name of a kind to bytes, where there are any.
    """
    return sent_by_kind(exchanges(program))


def sent_by_kind(found: Iterable[Exchange]) -> dict[str, int]:
    """The bytes that each device sends, by the kind of exchange, where there are any."""
    total: dict[str, Fraction] = {}
    for each in found:
        total[each.kind] = total.get(each.kind, Fraction()) + each.sent
    return {kind: math.ceil(sent) for kind, sent in total.items() if sent}


def exchanges(program: str) -> list[Exchange]:
    """What the devices exchange in one run of a program, counted as by `exchanged_bytes`.

    Args:
      program: as ``compiled.as_text()`` gives it.
    """
    computations: dict[str, list[re.Match[str]]] = {}
    main = ""
    for line in program.splitlines():
        if found := _COMPUTATION.match(line):
            lines = computations[found["name"]] = []
            if found["entry"]:
                main = found["name"]
        elif found := _INSTRUCTION.match(line):
            lines.append(found)
    devices = math.prod(
        int(count)
        for count in re.findall(r"(?:replica_count|num_partitions)=(\d+)", program.split("\n")[0])
    )

    def of(computation: str) -> Iterator[tuple[str, int, int]]:
        named = {found["name"]: found for found in computations[computation]}
        for found in named.values():
            rest, (kind, half) = found["rest"], _halves(found["operation"])
            if kind in _SENT and half in (None, "done"):
                # Of an exchange in two halves the first says between whom, the second gives it.
                first = rest if half is None else named[_NAME.findall(rest)[0]]["rest"]
                yield kind, _group_size(first, devices), _bytes(found["type"])
            elif kind not in _SENT and half in (None, "start"):
                turns = int(known[1]) if (known := _TURNS.search(rest)) else 1
                called = itertools.chain(*map(_NAME.findall, _CALLED.findall(rest)))
                yield from ((k, n, turns * size) for name in called for k, n, size in of(name))

    sizes: dict[tuple[str, int], int] = {}
    for kind, among, size in of(main):
        sizes[kind, among] = sizes.get((kind, among), 0) + size
    return [Exchange(kind, among, size) for (kind, among), size in sizes.items()]


def _halves(operation: str) -> tuple[str, str | None]:
    """The name of an operation, and of its half: ``start``, ``done`` or None for the whole."""
    name, _, half = operation.rpartition("-")
    return (name, half) if half in ("start", "update", "done") else (operation, None)


def _bytes(of_type: str) -> int:
    """Of an array, or a tuple of arrays."""
    return sum(
        math.prod(map(int, filter(None, found["shape"].split(","))))
        * -(-int(found["bits"] or 8) // 8)
        for found in _ARRAY.finditer(of_type)
    )


def _group_size(attributes: str, devices: int) -> int:
    """How many devices exchange something with one another."""
    if "source_target_pairs=" in attributes:
        pairs = attributes.partition("source_target_pairs=")[2].partition("}}")[0] + "}"
        return 2 if any(a != b for a, b in _MOVED.findall(pairs)) else 1
    found = _GROUPS.search(attributes)
    if found is None:
        return devices
    if found["counted"]:
        return int(found["counted"])
    if found["listed"] is not None:
        return len(found["listed"].split(","))
    if found["mesh"] is not None:
        sizes = dict(re.findall(r"('[^']*')=(\d+)", found["mesh"]))
        # A part of an axis is written as 'axis':(size of what is before it)its own size.
        axes = re.findall(r"('[^']*')(?::\(\d+\)(\d+))?", found["axes"])
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return devices
