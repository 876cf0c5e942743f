"""Checks and measures this code on a GPU or TPU, and writes one JSON file.

    python -m experiments.rigs.accelerator --output=accelerator.json

It needs jax, flax, optax, orbax-checkpoint, chex, numpy and scikit-learn, and no network. First it
checks training: a run that was stopped and resumed equals an uninterrupted one to the bit in
deterministic mode, jit and pmap agree, a NaN step is left out, and a small VGG reads 98 % of the
digits. Then it measures VGG-16, ResNet-50, AlexNet and GoogLeNet in bfloat16 on one device:
images/s, milliseconds a step and the share of the measured matrix-product peak, the operations that
take most of a step's time, the cost of deterministic mode, and torchvision's networks where torch
is installed.

The file is written after every step, so that it is complete as far as the command came. The exit
status is 0 if all checks passed, and 1 if one failed or was not reached in time.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.rigs.accelerator.plan import PEAK, Step, make_plan
from experiments.rigs.accelerator.processes import (
    Order,
    OrderError,
    OutOfTimeError,
    Processes,
)
from experiments.rigs.report import Report
from experiments.turns import EndedError
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser
from jaxcnn.errors import UserError

OUT_OF_TIME = "not measured: out of time"
CarryOut = Callable[[Order, float], dict[str, Any]]


def summary(sections: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures that matter most, of all sections so far."""
    speeds = [s for s in sections if "images_per_second" in s]
    return {
        "device": next((s["device_kind"] for s in sections if "device_kind" in s), None),
        "checks": {s["name"]: s["passed"] for s in sections if s["kind"] == "check"},
        "images_per_second": {s["name"]: s["images_per_second"] for s in speeds},
        "share_of_peak": {s["name"]: s["share_of_peak"] for s in speeds if "share_of_peak" in s},
        "failed": [s["name"] for s in sections if s["status"] == "failed"],
        "not_measured": [s["name"] for s in sections if s["status"] == "not measured"],
    }


def run_steps(
    steps: Sequence[Step],
    carry_out: CarryOut,
    report: Report,
    *,
    seconds: float,
    note: Callable[[str], None],
) -> None:
    """Carries out every step that there is time for, and reports each.

    Args:
      steps: in order.
      carry_out: calls what an order names, within a number of seconds.
      report: gets a section for each step.
      seconds: after the report's start, when time is up.
      note: shows a line of progress.
    """
    for number, step in enumerate(steps, start=1):
        note(f"[{number}/{len(steps)}] {report.elapsed():4.0f} s: {step.name}")
        section: dict[str, Any] = {
            "name": step.name,
            "kind": "check" if step.is_check else "measurement",
        }
        begin = report.elapsed()
        outcome = _outcome(step, carry_out, report, seconds)
        if step.is_check:
            section["passed"] = outcome.pop("passed", None)
        section |= {
            "status": outcome.pop("status"),
            "seconds": round(report.elapsed() - begin, 2),
            **outcome,
        }
        report.add(section)
        note(f"    {told(section)}")


def _outcome(step: Step, carry_out: CarryOut, report: Report, seconds: float) -> dict[str, Any]:
    """The status of a step, and its figures or the reason why there are none."""
    if step.absent is not None:
        return {"status": "not measured", "reason": step.absent}
    found: dict[str, Any] = {}
    failed = {"status": "failed", "passed": False} if step.is_check else {"status": "failed"}
    like = next((s for s in report.sections if s["name"] == step.like), None)
    for order in step.orders:
        left = seconds - report.elapsed()
        if left <= 0:
            return {"status": "not measured", "reason": OUT_OF_TIME}
        try:
            found |= carry_out(_same_batch(order, like), min(left, step.limit))
        except OutOfTimeError:
            if left < step.limit:
                reason = f"{OUT_OF_TIME} after {left:.0f} s of this step"
                return {"status": "not measured", "reason": reason}
            return {**failed, "reason": f"stopped after {step.limit:g} s, the most for a step"}
        except OrderError as error:
            return {**failed, "reason": str(error)}
        except EndedError as error:
            reason = f"the process ended with status {error.status}: {error}"
            return {**failed, "reason": reason}
        except Exception as error:  # a bug here must not cost the figures of the other steps
            return {**failed, "reason": f"{type(error).__name__}: {error}"}
    if "absent" in found:
        return {"status": "not measured", "reason": found.pop("absent"), **found}
    if step.is_check and not found.get("passed"):
        return {**found, **failed}
    return {"status": "measured", **found, **_compared(found, like, report)}


def _same_batch(order: Order, like: dict[str, Any] | None) -> Order:
    """The order with the batch of an earlier speed, which may have been too large for memory."""
    if like is None or "batch_size" not in like:
        return order
    task = {**order.arguments["task"], "batch_size": like["batch_size"]}
    return Order(order.function, {**order.arguments, "task": task}, order.mode, order.fresh)


def _compared(
    found: dict[str, Any], like: dict[str, Any] | None, report: Report
) -> dict[str, float]:
    """A speed as a share of the peak, and as a multiple of the speed that it is compared with."""
    result = {}
    peak = next((s for s in report.sections if s["name"] == PEAK), {})
    if "images_per_second" not in found:
        return {}
    if peak.get("teraflop_per_second"):
        result["share_of_peak"] = found["teraflop_per_second"] / peak["teraflop_per_second"]
    if like and like.get("images_per_second"):
        ratio = found["images_per_second"] / like["images_per_second"]
        result["times_as_fast_as_jaxcnn"] = ratio
    return result


def told(section: dict[str, Any]) -> str:
    """A section in a line."""
    if section["status"] != "measured":
        reason = section.get("reason", "its figures are in the file")
        return reason if reason.startswith(section["status"]) else f"{section['status']}: {reason}"
    if section["kind"] == "check":
        return f"passed in {section['seconds']:.1f} s"
    if "images_per_second" in section:
        share = section.get("share_of_peak")
        ratio = section.get("times_as_fast_as_jaxcnn")
        return (
            f"{section['images_per_second']:,.1f} images/s, "
            f"{section['milliseconds_per_step']:.2f} ms a step"
            + (f", {share:.1%} of the peak" if share is not None else "")
            + (f", {ratio:.2f} times as fast as plain jaxcnn" if ratio is not None else "")
        )
    if "teraflop_per_second" in section:
        return f"{section['teraflop_per_second']:.2f} TFLOP/s"
    return f"measured in {section['seconds']:.1f} s"


def main(argv: Sequence[str], output: Output) -> int:
    """Checks, measures and writes; returns the exit status."""
    parser = Parser("python -m experiments.rigs.accelerator", str(__doc__))
    parser.add_argument(
        "--output", type=Path, default=Path("accelerator.json"), help="the JSON file"
    )
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="that it may take; what is left is skipped"
    )
    parser.add_argument(
        "--smallest", action="store_true", help="tiny networks and batches, to try it on a CPU"
    )
    arguments = parser.read(argv)
    if not 0 < arguments.minutes < math.inf:
        raise UserError(f"--minutes={arguments.minutes:g} must be more than 0, and finite.")
    asked = {"minutes_allowed": arguments.minutes, "smallest": arguments.smallest}
    report = Report(arguments.output, asked, summary)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checkpoints = folder / "run"
        checkpoints.mkdir()
        with Processes(folder / "compiled", quickly=arguments.smallest) as processes:
            run_steps(
                make_plan(str(checkpoints), smallest=arguments.smallest),
                processes.carry_out,
                report,
                seconds=60 * arguments.minutes,
                note=output.note,
            )
    passed = all(s["passed"] is True for s in report.sections if s["kind"] == "check")
    report.finish(all_checks_passed=passed)
    output.result(report.record, conclusion(report.sections, arguments.output))
    return 0 if passed else 1


def conclusion(sections: Sequence[dict[str, Any]], path: Path) -> str:
    """The result in a few lines."""
    checks = [s for s in sections if s["kind"] == "check"]
    wrong = [s for s in checks if not s["passed"]]
    unmeasured = [s["name"] for s in sections if s["status"] == "not measured"]
    lines = [f"{s['name']}: {told(s)}" for s in wrong]
    lines += [
        f"{s['name']}: {told(s)}"
        for s in sections
        if s["kind"] != "check" and s["status"] == "failed"
    ]
    if unmeasured:
        lines.append(f"not measured: {'; '.join(unmeasured)}")
    passed = len(checks) - len(wrong)
    verdict = "all checks passed" if not wrong else f"{passed} of {len(checks)} checks passed"
    return "\n".join([*lines, f"{verdict}; the results are in {path}"])
