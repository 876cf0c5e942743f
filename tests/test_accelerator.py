"""The rig for accelerators, in its smallest form on CPU: what it checks, writes and survives."""

import importlib.metadata
import json
import math
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from experiments.rigs.accelerator import command
from experiments.rigs.accelerator.command import OUT_OF_TIME, main, run_steps, summary
from experiments.rigs.accelerator.plan import Step, make_plan
from experiments.rigs.accelerator.processes import Order, OrderError, OutOfTimeError, Processes
from experiments.rigs.accelerator.trace import most_expensive
from experiments.rigs.report import Report
from experiments.turns import EndedError
from jaxcnn.cli.exit_status import run_main

ROOT = Path(__file__).parents[1]
BARE = ("jax", "flax", "optax", "orbax-checkpoint", "chex", "numpy", "scikit-learn")
# Some of this is not installed here, and fsspec comes with etils: ours must need neither.
REFUSED_ANYWAY = {"fsspec", "torch", "torchvision", "tensorflow", "keras"}

# What Python imports at its start: it finds no module that a bare machine does not have.
SITE = """
    import importlib.metadata, sys

    REFUSED, DISTRIBUTIONS = set({refused!r}), set({distributions!r})

    class Without:
        def __init__(self, finder):
            self.finder = finder

        def __getattr__(self, name):
            return getattr(self.finder, name)

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in REFUSED:
                return None
            return self.finder.find_spec(name, path, target)

    sys.meta_path[:] = map(Without, sys.meta_path)
    found = importlib.metadata.version

    def version(name):
        if name.lower().replace("_", "-") not in DISTRIBUTIONS:
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    importlib.metadata.version = version
"""


def brought_along():
    """The distributions of the bare list, and all that they require."""
    found, waiting = set(), [(name, "") for name in BARE]
    while waiting:
        name, extra = waiting.pop()
        name = re.sub(r"[-_.]+", "-", name).lower()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for text in importlib.metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed.name, each) for each in ("", *needed.extras)]
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The environment of a process for which no other package is installed, on two devices."""
    distributions = brought_along()
    refused = {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not {"jaxcnn", *distributions}
        & {re.sub(r"[-_.]+", "-", name).lower() for name in owners}
    }
    folder = tmp_path_factory.mktemp("site")
    text = textwrap.dedent(SITE).format(
        refused=sorted(refused | REFUSED_ANYWAY), distributions=sorted(distributions)
    )
    (folder / "sitecustomize.py").write_text(text)
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }


def python(environment, *words, cwd=None):
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def smallest(bare, tmp_path_factory):
    """The whole command on a bare machine: the process, and its file."""
    folder = tmp_path_factory.mktemp("smallest")
    words = ["-m", "experiments.rigs.accelerator", "--smallest", "--output=found.json"]
    process = python(bare, *words, cwd=folder)
    return process, json.loads((folder / "found.json").read_text())


def section(record, name):
    (found,) = [each for each in record["sections"] if each["name"] == name]
    return found


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [x for each in value for x in numbers(each)]
    return [value] if isinstance(value, float) else []


def test_it_starts_on_a_bare_machine_and_all_checks_pass(smallest):
    process, record = smallest
    assert process.returncode == 0, process.stderr
    assert record["complete"]
    assert record["all_checks_passed"] is True
    assert list(record["summary"]["checks"].values()) == [True] * 4
    assert record["summary"]["failed"] == []
    assert [each["name"] for each in record["sections"]] == [
        step.name for step in make_plan("", smallest=True)
    ]
    assert "all checks passed; the results are in found.json" in process.stdout


def test_the_refusal_of_other_packages_is_in_force(bare):
    for name in ("tqdm", "tensorboardX", "fsspec", "tensorflow_datasets", "PIL", "safetensors"):
        process = python(bare, "-c", f"import {name}")
        assert f"No module named '{name}'" in process.stderr


def test_models_losses_and_training_are_imported_on_a_bare_machine(bare):
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for room in ("models", "losses", "training")
        for path in sorted((ROOT / "jaxcnn" / room).glob("*.py"))
        if path.stem != "events"  # the TensorBoard events themselves
    ]
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    process = python(bare, "-c", code)
    assert process.returncode == 0, process.stderr


def test_every_figure_is_finite_and_the_speeds_are_positive(smallest):
    _, record = smallest
    assert all(map(math.isfinite, numbers(record)))
    speeds = [each for each in record["sections"] if "images_per_second" in each]
    assert {each["contestant"] for each in speeds} == {"jaxcnn", "deterministic"}
    for each in speeds:
        assert each["dtype"] == "bfloat16"
        slowest, fastest = (each[f"images_per_second_{end}"] for end in ("slowest", "fastest"))
        assert 0 < slowest <= each["images_per_second"] <= fastest
        in_seconds = each["milliseconds_per_step"] / 1000
        assert each["images_per_second"] == pytest.approx(each["batch_size"] / in_seconds)
        peak = section(record, "matrix products in bfloat16")["teraflop_per_second"]
        share = each["gigaflop_per_step"] / 1000 / in_seconds / peak
        assert each["share_of_peak"] == pytest.approx(share)
    training, inference = speeds[:2]
    assert training["gigaflop_per_step"] == pytest.approx(3 * inference["gigaflop_per_step"])
    assert speeds[2]["times_as_fast_as_jaxcnn"] > 0


def test_the_checks_compare_what_they_name(smallest):
    _, record = smallest
    layouts = section(record, "jit and pmap agree")
    assert layouts["devices"] == 2
    assert 0 <= layouts["gradient_difference_relative"] < 1e-3
    resumed = section(record, "a resumed training is the uninterrupted one, in deterministic mode")
    assert resumed["arrays_differing"] == 0 < resumed["arrays_changed_since_the_checkpoint"]
    assert len(resumed["losses"]) == 6
    nan = section(record, "a NaN step is left out")
    for mode in ("jit", "pmap"):
        assert nan[mode]["loss_is_nan"]
        assert nan[mode]["arrays_changed"] == 0 < nan[mode]["arrays_changed_by_next"]
    digits = section(record, "a small VGG reads 98 % of the digits")
    assert digits["accuracy"] >= digits["wanted"] == 0.98
    assert "xla_gpu_deterministic_ops" in section(record, "environment")["xla_flags_of_the_checks"]


def test_the_operations_of_a_step_are_found_in_its_trace(smallest):
    _, record = smallest
    traced = section(record, "most expensive operations of mnist_cnn")
    found = traced["operations"]
    assert 1 <= len(found) <= 10
    spent = [each["milliseconds"] for each in found]
    assert spent == sorted(spent, reverse=True)
    assert 0 < sum(each["share"] for each in found) <= 1 + 1e-9
    assert any("conv" in each.get("layer", "") for each in found)


def test_what_cannot_be_measured_says_why(smallest):
    process, record = smallest
    peers = section(record, "torchvision")
    assert peers["status"] == "not measured"
    assert peers["reason"] == "torch and torchvision are not installed"
    assert "not measured: torchvision" in process.stdout


def lane(pid, tid, process, thread):
    return [
        {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": process}},
        {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": thread}},
    ]


def event(pid, tid, name, dur, **args):
    return {"ph": "X", "pid": pid, "tid": tid, "ts": 0.0, "dur": dur, "name": name, "args": args}


def test_of_a_gpu_the_kernels_of_its_streams_count_and_not_the_host():
    events = [
        *lane(1, 7, "/device:GPU:0", "Stream #13(Compute)"),
        *lane(1, 8, "/device:GPU:0", "XLA Modules"),
        *lane(2, 9, "/host:CPU", "python"),
        event(1, 7, "ampere_conv", 30.0, hlo_op="cudnn-conv.1", tf_op="conv1_1"),
        event(1, 7, "ampere_conv", 50.0, hlo_op="cudnn-conv.1"),
        event(1, 7, "loop_kernel", 20.0, hlo_op="fusion.2"),
        event(1, 8, "jit_step", 100.0),
        event(2, 9, "waiting", 500.0, hlo_op="copy"),
    ]
    found = most_expensive(events, {"fusion.2": "jit(step)/bn1/mul"})
    assert found["milliseconds_in_all"] == pytest.approx(0.1)
    first, second = found["operations"]
    assert (first["name"], first["kernel"], first["layer"]) == (
        "cudnn-conv.1",
        "ampere_conv",
        "conv1_1",
    )
    assert (first["calls"], first["share"]) == (2, pytest.approx(0.8))
    assert (second["name"], second["layer"]) == ("fusion.2", "jit(step)/bn1/mul")
    operations = [*lane(1, 6, "/device:GPU:0", "XLA Ops"), event(1, 6, "fusion", 40.0)]
    (only,) = most_expensive([*events, *operations], {})["operations"]
    assert only["name"] == "fusion"
    with pytest.raises(ValueError, match="no event"):
        most_expensive(lane(2, 9, "/host:CPU", "python"), {})


def steps(*names, checks=()):
    return [Step(name, (Order(f"m.{name}"),), is_check=name in checks) for name in names]


def test_a_step_that_fails_is_recorded_and_the_rest_goes_on(tmp_path):
    path, lines = tmp_path / "found.json", []
    report = Report(path, {}, summary)

    def carry_out(order, timeout):
        before = json.loads(path.read_text())  # whole after every step
        assert len(before["sections"]) == len(report.sections)
        assert not before["complete"]
        match order.function:
            case "m.raises":
                raise OrderError("ValueError: this and that")
            case "m.ends":
                raise EndedError(-9, "killed")
            case "m.surprises":
                raise KeyError("a bug")
            case "m.hangs":
                raise OutOfTimeError
            case "m.wrong":
                return {"passed": False, "difference": float("nan")}
        return {"passed": True}

    names = ("right", "raises", "ends", "surprises", "hangs", "wrong", "last")
    asked = [*steps(*names, checks=names[:-1])]
    run_steps(asked, carry_out, report, seconds=1e9, note=lines.append)
    report.finish(found="six")
    record = json.loads(path.read_text())
    outcome = {each["name"]: each for each in record["sections"]}
    assert list(outcome) == list(names)
    assert outcome["right"]["passed"] is True
    assert outcome["raises"]["reason"] == "ValueError: this and that"
    assert outcome["ends"]["reason"] == "the process ended with status -9: killed"
    assert outcome["surprises"]["reason"] == "KeyError: 'a bug'"
    assert outcome["hangs"]["reason"] == "stopped after 120 s, the most for a step"
    assert outcome["wrong"]["difference"] is None  # a number that is no JSON
    for name in names[1:-1]:
        assert (outcome[name]["status"], outcome[name]["passed"]) == ("failed", False)
    assert outcome["last"]["status"] == "measured"
    assert (record["complete"], record["found"]) == (True, "six")
    assert list(record).index("summary") < list(record).index("sections")
    assert record["summary"]["failed"] == list(names[1:-1])
    said = command.conclusion(report.sections, path)
    assert "raises: failed: ValueError: this and that" in said
    assert f"1 of 6 checks passed; the results are in {path}" in said


def test_what_there_is_no_time_for_is_not_begun_and_does_not_pass(tmp_path):
    report = Report(tmp_path / "found.json", {}, summary)
    begun = []

    def carry_out(order, timeout):
        begun.append(order.function)
        assert timeout <= 60
        report._start -= 100  # so long it took
        if order.function == "m.second":
            raise OutOfTimeError
        return {"passed": True}

    asked = steps("first", "second", "third", checks=("first", "second", "third"))
    run_steps(asked[:1], carry_out, report, seconds=60, note=str)
    run_steps(asked[1:], carry_out, report, seconds=160, note=str)
    assert begun == ["m.first", "m.second"]
    first, second, third = report.sections
    assert first["passed"] is True
    assert second["reason"].startswith(f"{OUT_OF_TIME} after")
    assert third["reason"] == OUT_OF_TIME
    assert [each["passed"] for each in (second, third)] == [None, None]
    assert "1 of 3 checks passed" in command.conclusion(report.sections, tmp_path)


@pytest.mark.parametrize(("passed", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_says_whether_all_checks_passed(
    passed, status, tmp_path, monkeypatch, capsys
):
    def carry_out(self, order, timeout):
        return {"passed": passed}

    monkeypatch.setattr(Processes, "carry_out", carry_out)
    path = tmp_path / "found.json"
    assert run_main(main, "accelerator", ["--smallest", f"--output={path}", "--quiet"]) == status
    assert json.loads(path.read_text())["all_checks_passed"] is passed
    assert ("all checks passed" in capsys.readouterr().out) is passed


def test_a_peer_gets_the_batch_that_ours_had_room_for(tmp_path):
    report = Report(tmp_path / "found.json", {}, summary)
    task = {"batch_size": 256}
    ours = Step("ours", (Order("m.ours", {"task": task}),))
    peer = Step("peer", (Order("m.peer", {"task": task}, "torch"),), like="ours")
    asked = []

    def carry_out(order, timeout):
        asked.append((order.mode, order.arguments["task"]["batch_size"]))
        speed = {"images_per_second": 10.0 * len(asked), "milliseconds_per_step": 1.0}
        return {"batch_size": 128, **speed}

    run_steps([ours, peer], carry_out, report, seconds=60, note=str)
    assert asked == [("plain", 256), ("torch", 128)]
    assert report.sections[1]["times_as_fast_as_jaxcnn"] == 2


def test_a_process_that_hangs_is_stopped_and_the_next_order_gets_a_new_one(tmp_path):
    with Processes(tmp_path) as processes:
        with pytest.raises(OutOfTimeError):
            processes.carry_out(Order("checks.uninterrupted", {"folder": "/"}), 0.3)
        with pytest.raises(OrderError, match=r"TypeError: .*no_such"):
            processes.carry_out(Order("trace.operations", {"no_such": 1}), 60)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--minutes=0", "--minutes=0 must be more than 0"),
        ("--minutes=nan", "--minutes=nan must be more than 0"),
        ("--minutes=soon", "--minutes"),
        ("--smalest", "--smallest"),
        ("--output=/nowhere/at/all.json", "/nowhere/at/all.json cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence(word, said, capsys):
    assert run_main(main, "accelerator", [word]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1
