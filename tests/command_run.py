"""Real runs of a recipe's command, small ones: started, waited for, read and compared."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
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


def start(workdir, *extra, moment=None, devices=1):
    """A process of the command, which dies at a moment of killed_run.py if one is given."""
    program = [KILLED, moment] if moment else ["-m", "experiments.vgg_imagenet"]
    given = {argument.partition("=")[0] for argument in extra}
    others = [a for a in ARGUMENTS if a.partition("=")[0] not in given]
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(Path(os.environ["JAXCNN_CACHE"]) / "xla"),
        "PYTHONPATH": os.getcwd(),
    }
    return subprocess.Popen(
        [sys.executable, *program, *others, f"--config.workdir={workdir}", *extra],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port():
    with socket.socket() as anyone:
        anyone.bind(("127.0.0.1", 0))
        return anyone.getsockname()[1]


def start_several(workdir, *extra, processes=2, devices=1, own=()):
    """The processes of one run; ``own`` are further arguments of the last one."""
    meeting = f"--config.parallel.coordinator=127.0.0.1:{free_port()}"
    return [
        start(
            workdir,
            meeting,
            f"--config.parallel.processes={processes}",
            f"--config.parallel.process={number}",
            *extra,
            *(own if number == processes - 1 else ()),
            devices=devices,
        )
        for number in range(processes)
    ]


def finish(process, status=0):
    """What a process printed, once it has ended as it should."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == status, f"{output}\n{errors}"
    return output


def wait_for_records(workdir, processes, lines=1):
    """Returns when there are so many lines of metrics, or a process has ended too early."""
    records = workdir / "metrics.jsonl"
    while all(p.poll() is None for p in processes):
        if records.exists() and records.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.01)


def steps(workdir):
    """The steps of the newest checkpoints, oldest first."""
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def final_state(workdir):
    """The arrays of the newest checkpoint by name."""
    path = workdir / "checkpoints" / str(steps(workdir)[-1]) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        like = reader.metadata(path).item_metadata.tree
        as_numpy = tree_util.tree_map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        leaves = tree_util.tree_leaves_with_path(reader.restore(path, restore_args=as_numpy))
    return {tree_util.keystr(key): leaf for key, leaf in leaves}


def metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(workdir, reference):
    """Equal to the bit: the last state, the records and the result."""
    ours, expected = final_state(workdir), final_state(reference)
    assert ours.keys() == expected.keys()
    for name, leaf in ours.items():
        np.testing.assert_array_equal(leaf, expected[name], err_msg=name)
    ours, expected = ((w / "metrics.jsonl").read_bytes() for w in (workdir, reference))
    assert ours == expected
    results = [json.loads((w / "result.json").read_text()) for w in (workdir, reference)]
    for result in results:
        del result["seconds"], result["continued"], result["goodput"]
    assert results[0] == results[1]
