"""What the processes' reports say together: where they differ, and what is wrong where."""

import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# What a process found, of the keys that `preflight._look` gives; None where it could not look.
Report = Mapping[str, Any]

_SKEW = 5.0  # seconds between clocks; files that seem to come from the future confuse people


def facts(reports: Sequence[Report], workdir: Path) -> list[str]:
    """What was seen, a line to each process and one to what they have in common."""
    first = reports[0]
    count, hosts = len(reports), len({report["host"] for report in reports})
    versions = ", ".join(
        f"{name} {first['versions'][name]}" for name in ("jaxcnn", "jax", "python")
    )
    lines = [
        f"{' '.join(first['started'])}: {_counted(count, 'process', 'es')} on "
        f"{_counted(hosts, 'host')}; {versions}"
    ]
    for number, report in enumerate(reports):
        seen = [_names(reports, [number])]
        if (devices := report["devices"]) is not None:
            seen.append(_device_words(devices))
        seen.append(_counted(report["cores"], "core"))
        if (disk := report["disk"]) is not None:
            seen.append(
                f"{disk['free'] / 1e9:,.1f} GB free, {disk['speed'] / 1e6:,.0f} MB/s written"
            )
        seen.append(f"clock {report['clock'] - first['clock']:+.1f} s")
        lines.append("; ".join(seen))
    if first["splits"] is not None:
        splits = [f"{split['split']} {split['images']:,}" for split in first["splits"].values()]
        some = next(iter(first["splits"].values()))
        lines.append(
            f"Data: {some['name']}, {some['classes']:,} classes; images: {', '.join(splits)}"
        )
    if (size := first["checkpoint"]) is not None:
        lines.append(f"Work directory: {workdir}; a checkpoint takes {size / 1e6:,.1f} MB")
    if (total := first["sum"]) is not None:
        took = (
            f"; {1e3 * total['seconds']:.2f} ms for one number, {1e3 * total['bytes_seconds']:.2f} "
            f"ms for {total['bytes'] / 2**20:g} MiB "
            f"({total['bytes'] / total['bytes_seconds'] / 1e9:.2f} GB/s)"
        )
        devices = total["devices"]
        lines.append(f"A sum over {_counted(devices, 'device')}: right{took * (devices > 1)}")
    return lines


def mistakes(reports: Sequence[Report]) -> list[str]:
    """What must be mended before the run, a sentence to each with the processes at fault."""
    found = [
        (number, sentence) for number, report in enumerate(reports) for sentence in report["wrong"]
    ]
    for key, sentence in (
        ("started", _started),
        ("versions", _versions),
        ("devices", _devices),
        ("splits", _splits),
    ):
        found += _odd_ones(reports, key, sentence)
    return _by_sentence(reports, found)


def warnings(reports: Sequence[Report]) -> list[str]:
    """What a run would bear, likewise."""
    usual = statistics.median(report["clock"] for report in reports)
    found = []
    for number, report in enumerate(reports):
        ahead = report["clock"] - usual
        if abs(ahead) > _SKEW:
            way = "ahead of" if ahead > 0 else "behind"
            found.append((number, f"the clock is {abs(ahead):.0f} s {way} the others'; set it."))
    return _by_sentence(reports, found) + _idle(reports)


def _idle(reports: Sequence[Report]) -> list[str]:
    """The hosts of which not every GPU is used."""
    used: Counter[str] = Counter()
    there = {}
    for report in reports:
        if (devices := report["devices"]) is not None:
            used[report["host"]] += devices["count"] * (devices["platform"] == "gpu")
            there[report["host"]] = report["gpus"]
    return [
        f"host {host}: {used[host]} of its {gpus} GPUs are used; start a process for each, or name "
        "those of each process by JAX_LOCAL_DEVICE_IDS, and install jax[cuda]."
        for host, gpus in there.items()
        if used[host] < gpus
    ]


def _odd_ones(
    reports: Sequence[Report], key: str, sentence: Callable[[Any, Any], str]
) -> list[tuple[int, str]]:
    """The processes that report something else than most of them, or than the first ones do."""
    there = [(number, report[key]) for number, report in enumerate(reports) if report[key]]
    if not there:
        return []
    usual = Counter(json.dumps(value) for _, value in there).most_common(1)[0][0]
    return [
        (number, sentence(value, json.loads(usual)))
        for number, value in there
        if json.dumps(value) != usual
    ]


def _started(ours: Sequence[str], usual: Sequence[str]) -> str:
    return (
        f"it was started as '{' '.join(ours)}' and the others as '{' '.join(usual)}'; give all of "
        "them the same command."
    )


def _versions(ours: Mapping[str, str], usual: Mapping[str, str]) -> str:
    here, there = (
        ", ".join(f"{name} {of[name]}" for name in usual if ours.get(name) != usual[name])
        for of in (ours, usual)
    )
    return f"it has {here} and the others {there}; install the same everywhere."


def _devices(ours: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    here, there = (_device_words(of) for of in (ours, usual))
    return f"it has {here} and the others {there}; a run needs the same everywhere."


def _device_words(of: Mapping[str, Any]) -> str:
    return f"{_counted(of['count'], 'device')} ({of['kind']})"


def _splits(ours: Mapping[str, Mapping[str, Any]], usual: Mapping[str, Mapping[str, Any]]) -> str:
    where = next(split for split in usual if ours.get(split) != usual[split])
    here, there = ours.get(where, {}), usual[where]
    name = f"{there['name']} {there['split']}"
    for what in ("images", "classes"):
        if here.get(what) != there[what]:
            return (
                f"{name} has {here.get(what)} {what} here and {there[what]} on the others; copy "
                "the data set again, the whole of it."
            )
    return (
        f"{name} is as large here as on the others, but its first, middle or last image or the "
        "names of its classes are others; copy the data set again."
    )


def _by_sentence(reports: Sequence[Report], found: Sequence[tuple[int, str]]) -> list[str]:
    """Each sentence once, after the processes that it is said of."""
    of: dict[str, list[int]] = {}
    for number, sentence in found:
        of.setdefault(sentence, []).append(number)
    return [
        f"{_names(reports, sorted(set(numbers)))}: {sentence}" for sentence, numbers in of.items()
    ]


def _names(reports: Sequence[Report], numbers: Sequence[int]) -> str:
    if len(numbers) == len(reports) > 1:
        return f"all {len(reports)} processes"
    return ", ".join(f"process {number} (host {reports[number]['host']})" for number in numbers)


def _counted(count: int, what: str, more: str = "s") -> str:
    return f"{count} {what}{more * (count > 1)}"
