"""A run that is killed or stopped, and started again, is the run that never was: to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax import tree_util

# Everything that has a state is on: dropout, BatchNorm, augmentation, the averaged parameters, a
# plateau, early stopping, a checkpoint within the epoch (11 steps).
ARGUMENTS = [
    "--config=digits",
    "--config.model.name=vgg11_bn",
    "--config.model.width=8",
    "--config.model.hidden=32,32",
    "--config.train.batch_size=128",
    "--config.train.epochs=3",
    "--config.train.log_every=4",
    "--config.eval.batch_size=120",
    "--config.checkpoint.every_steps=4",
    "--config.optimizer.ema=0.9",
    "--config.schedule.kind=plateau",
    "--config.schedule.warmup_epochs=1",
    "--config.schedule.patience=1",
    "--config.schedule.early_stopping=10",
    "--config.data.threads=2",
]
KILLED = Path(__file__).with_name("killed_run.py")
LAST_STEP = 33


def command(workdir, *extra, moment=None):
    program = [KILLED, moment] if moment else ["-m", "experiments.vgg_imagenet"]
    given = {argument.partition("=")[0] for argument in extra}
    others = [a for a in ARGUMENTS if a.partition("=")[0] not in given]
    return [sys.executable, *program, *others, f"--config.workdir={workdir}", *extra]


def start(workdir, *extra, moment=None, devices=1):
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(Path(os.environ["JAXCNN_CACHE"]) / "xla"),
        "PYTHONPATH": os.getcwd(),
    }
    return subprocess.Popen(
        command(workdir, *extra, moment=moment),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, status=0):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == status, f"{output}\n{errors}"
    return output


def final_state(workdir):
    path = workdir / "checkpoints" / str(LAST_STEP) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        like = reader.metadata(path).item_metadata.tree
        as_numpy = tree_util.tree_map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        leaves = tree_util.tree_leaves_with_path(reader.restore(path, restore_args=as_numpy))
    return {tree_util.keystr(key): leaf for key, leaf in leaves}


def assert_same_run(workdir, reference):
    ours, expected = final_state(workdir), final_state(reference)
    assert ours.keys() == expected.keys()
    for name, leaf in ours.items():
        np.testing.assert_array_equal(leaf, expected[name], err_msg=name)
    ours, expected = ((w / "metrics.jsonl").read_bytes() for w in (workdir, reference))
    assert ours == expected
    results = [json.loads((w / "result.json").read_text()) for w in (workdir, reference)]
    for result in results:
        del result["seconds"], result["continued"]
    assert results[0] == results[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    finish(start(workdir))
    return workdir


def test_five_kills(undisturbed, tmp_path):
    """Before the first checkpoint, in a step, a save, an evaluation, and between two epochs."""
    workdir = tmp_path / "killed"
    for moment in ("step:2", "save:2", "step:5", "evaluation:2", "between_epochs:1"):
        finish(start(workdir, moment=moment), status=-signal.SIGKILL)
    output = finish(start(workdir))
    assert "Continuing from step" in output
    assert_same_run(workdir, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_continues(number, undisturbed, tmp_path):
    workdir = tmp_path / "stopped"
    process = start(workdir, "--config.checkpoint.every_steps=None")
    records = workdir / "metrics.jsonl"
    while process.poll() is None and not (records.exists() and records.stat().st_size):
        time.sleep(0.01)
    process.send_signal(number)
    output = finish(process, status=75)
    assert "the same command" in output
    assert [p.name for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()]
    # Which steps had a checkpoint changes nothing in the numbers.
    finish(start(workdir))
    assert_same_run(workdir, undisturbed)


def test_a_finished_run_prints_its_result(undisturbed):
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")}
    output = finish(start(undisturbed))
    assert "This run is finished." in output
    assert "top-1 accuracy" in output
    assert {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")} == before


@pytest.mark.full
def test_worker_processes_change_nothing(undisturbed, tmp_path):
    finish(start(tmp_path / "workers", "--config.data.workers=2"))
    assert_same_run(tmp_path / "workers", undisturbed)
