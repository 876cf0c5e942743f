"""The preflight: by each launcher, what can be wrong on one process, and what is said of it."""

import copy
import os
import re
import signal
import socket
import subprocess
import sys
import time

import cv2
import jax
import numpy as np
import pytest

from experiments.preflight import checks
from experiments.preflight.checks import Examiner, devices_seen, splits_seen, sums_seen
from experiments.preflight.command import main
from experiments.preflight.verdict import facts, mistakes, warnings
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.sources import open_source
from jaxcnn.errors import UserError
from jaxcnn.training.activity import Timeline

COMMAND = ("vgg_imagenet", "--config=digits")


def launcher_port():
    """One that is free, of those that jax takes by a launcher's job number."""
    for port in range(61440 + os.getpid() % 4096, 65536):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("all ports are taken")


def slurm(process, job):
    """What `srun -n 2` gives a process, as far as jax reads it."""
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(process),
        "SLURM_LOCALID": str(process),
    }


def open_mpi(process, job):
    """What `mpirun -n 2` of Open MPI 4 gives a process, likewise."""
    return {
        "OMPI_MCA_orte_hnp_uri": f"{job * 4096}.0;tcp://127.0.0.1:34911",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(process),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(process),
    }


def start(module, *arguments, **environment):
    given = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "OMPI_"))}
    given |= {"XLA_FLAGS": "", "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{module}", *arguments],
        env=given | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launched(launcher, *arguments, own=((), ()), module="preflight"):
    """Two processes as a launcher starts them, each with some arguments of its own."""
    job = launcher_port() - 61440
    words = (*arguments, "--config.parallel.detect=True")
    return [start(module, *words, *own[n], **launcher(n, job)) for n in range(2)]


def ended(processes, status):
    found = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [status] * len(processes), found
    return found


def test_two_processes_of_slurm_of_which_all_is_well(tmp_path):
    ((output, _), (other, errors)) = ended(
        launched(slurm, *COMMAND, f"--config.workdir={tmp_path / 'run'}"), status=0
    )
    host = socket.gethostname()
    assert "vgg_imagenet digits: 2 processes on 1 host; jaxcnn" in output
    for process in range(2):
        assert re.search(
            rf"process {process} \(host {host}\); 1 device \(cpu\); \d+ cores?; [\d.,]+ GB free, "
            r"[\d,]+ MB/s written; clock [+-]0.\d s\n",
            output,
        )
    assert "Data: digits, 10 classes; images: train 1,438, test 359\n" in output
    assert re.search(
        r"A sum over 2 devices: right; [\d.]+ ms for one number, [\d.]+ ms for 4 MiB \(", output
    )
    assert output.endswith("All is well.\n")
    assert "process" not in other
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_two_processes_of_open_mpi_of_which_one_is_started_wrongly(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    own = (
        (f"--config.workdir={tmp_path / 'here'}",),
        (
            f"--config.workdir={tmp_path / 'there'}",
            "--config.seed=3",
            "--config.data.data_dir=/nowhere",
        ),
    )
    ((output, first), (_, second)) = ended(launched(open_mpi, *COMMAND, own=own), status=2)
    wrong = [line for line in output.splitlines() if line.startswith("Wrong: ")]
    assert len(wrong) == 3
    for line, words in zip(
        wrong,
        (
            "started with other values than process 0 (seed: 0 -> 3; workdir: ",
            "the data directory /nowhere (data_dir) does not exist",
            f"the work directory {tmp_path / 'there'} is another one here than on process 0",
        ),
        strict=True,
    ):
        assert line.startswith(f"Wrong: process 1 (host {socket.gethostname()}): ")
        assert words in line
    assert "A sum over 2 devices: right" in output
    for errors in (first, second):
        assert "3 things are wrong, as process 0 has printed" in errors
        assert "Traceback" not in errors
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "here", tmp_path / "there"]


def test_no_launcher_is_one_sentence(tmp_path):
    process = start(
        "preflight", *COMMAND, f"--config.workdir={tmp_path}", "--config.parallel.detect=True"
    )
    ((output, errors),) = ended([process], status=2)
    assert output == ""
    assert errors.startswith("preflight: parallel.detect found no launcher: jax knows SLURM's ")
    assert len(errors.splitlines()) == 1


@pytest.mark.full
def test_a_process_that_does_not_answer_is_named(tmp_path):
    arguments = (
        *COMMAND,
        f"--config.workdir={tmp_path / 'run'}",
        "--config.parallel.silence=10",
        "--config.parallel.timeout=60",
    )
    first, second = launched(slurm, *arguments)
    # Process 0's mark in the work directory: they are in the middle of it.
    while second.poll() is None and not list(tmp_path.iterdir()):
        time.sleep(0.001)
    second.send_signal(signal.SIGSTOP)
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 75
    assert re.search(r"nothing has been heard of process 1 \(host .*\) for 10 s", errors)
    second.kill()
    second.communicate()


@pytest.mark.full
def test_a_training_by_a_launcher(tmp_path):
    for launcher in (slurm, open_mpi):
        workdir = tmp_path / launcher.__name__
        arguments = (
            "--config=digits",
            "--config.train.epochs=1",
            "--config.model.width=4",
            "--config.model.hidden=8,8",
            "--config.schedule.warmup_epochs=0",
            f"--config.workdir={workdir}",
        )
        ((output, _), _) = ended(launched(launcher, *arguments, module="vgg_imagenet"), status=0)
        assert "on cpu (2 devices, 2 processes)" in output
        assert "Result: top-1 accuracy" in output


# On one process, in this one.


@pytest.fixture
def run(tmp_path, capfd):
    def run(*arguments, status):
        assert main([*COMMAND, *arguments]) == status
        return capfd.readouterr()

    return run


def test_one_process_of_which_all_is_well(run, tmp_path):
    printed = run(f"--config.workdir={tmp_path / 'run'}", "--config.train.batch_size=64", status=0)
    assert "vgg_imagenet digits: 1 process on 1 host; jaxcnn" in printed.out
    assert "8 devices (cpu)" in printed.out
    assert "A sum over 8 devices: right; " in printed.out
    assert printed.out.endswith("All is well.\n")
    assert printed.err == ""
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_wrong_is_said_at_once(run, tmp_path):
    (tmp_path / "run").write_text("a file")
    printed = run(
        f"--config.workdir={tmp_path / 'run' / 'below'}",
        "--config.data.data_dir=/nowhere",
        status=2,
    )
    wrong = [line for line in printed.out.splitlines() if line.startswith("Wrong: process 0 ")]
    assert len(wrong) == 2
    assert "/nowhere (data_dir) does not exist" in wrong[0]
    assert f"the disk of the work directory {tmp_path / 'run' / 'below'} takes nothing" in wrong[1]
    assert printed.err == (
        "preflight: 2 things are wrong, as process 0 has printed; the run would not go well.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vgg_imagnet"], "there is no recipe 'vgg_imagnet'; did you mean 'vgg_imagenet'?"),
        (["vgg_imagenet", "--config=digit"], "did you mean 'digits'?"),
        (["vgg_imagenet", "--config.train.epoch=3"], "did you mean 'train.epochs'?"),
        (["--config=digits"], "there is no recipe '--config=digits'"),
    ],
)
def test_a_word_that_is_not_understood(arguments, words, capfd):
    assert main(arguments) == 2
    assert words in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help(arguments, capfd):
    assert main(arguments) == 0
    printed = capfd.readouterr().out
    assert "python -m experiments.preflight RECIPE" in printed
    assert "vgg_imagenet, " in printed


def test_a_look_notes_what_is_wrong_and_ends_in_time():
    examiner = Examiner(Timeline(), limit=0.2)
    assert examiner.look("nothing", lambda: 3) == 3
    assert examiner.wrong == []

    def refuse():
        raise UserError("the sentence.")

    assert examiner.look("what is wrong", refuse) is None
    began = time.monotonic()
    assert examiner.look("the disk", lambda: time.sleep(30)) is None
    assert time.monotonic() - began < 10
    assert examiner.wrong == [
        "the sentence.",
        "the disk has not come to an end within 0.2 s (parallel.timeout).",
    ]
    with pytest.raises(ZeroDivisionError):  # a bug is none of the user's
        examiner.look("a bug", lambda: 1 / 0)


def test_devices_that_compute_wrongly(monkeypatch):
    assert devices_seen() == {"platform": "cpu", "kind": "cpu", "count": 8}
    put = jax.device_put
    ill = jax.devices()[3]
    monkeypatch.setattr(jax, "device_put", lambda x, d: put(x + (d == ill), d))
    with pytest.raises(UserError, match=re.escape(f"{ill} computes wrongly")):
        devices_seen()


def test_devices_that_add_up_wrongly(monkeypatch):
    seen = sums_seen()
    assert seen["devices"] == 8
    assert seen["seconds"] > 0
    assert seen["bytes"] == 4 << 20
    monkeypatch.setattr(checks, "sum_of_numbers", lambda _: (35.0, 36.0))
    with pytest.raises(UserError, match="the 8 devices add up the numbers 1 to 8 to 35 instead of"):
        sums_seen()


def test_another_byte_in_an_image_is_noticed(tmp_path):
    for number in range(3):
        folder = tmp_path / "train" / "cat"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), np.full((4, 4, 3), number, np.uint8))
    (tmp_path / "train" / "dog").mkdir()
    cv2.imwrite(str(tmp_path / "train" / "dog" / "3.png"), np.zeros((4, 4, 3), np.uint8))

    class Splits:
        train = eval = open_source(str(tmp_path), "train")
        test_batches = None

    config = DataConfig(source=str(tmp_path), eval_split="train")
    before = splits_seen(Splits, config)
    assert before["train"]["images"] == 4
    assert before == splits_seen(Splits, config)
    for name in ("cat/0.png", "cat/2.png", "dog/3.png"):
        path = tmp_path / "train" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert splits_seen(Splits, config)["train"]["bytes"] != before["train"]["bytes"]
        path.write_bytes(whole)
    assert before == splits_seen(Splits, config)


# What several reports say together.

REPORT = {
    "host": "a",
    "started": ["vgg_imagenet", "d"],
    "versions": {"jaxcnn": "0.1.0", "python": "3.12.1", "jax": "0.10.2"},
    "clock": 1000.0,
    "devices": {"platform": "gpu", "kind": "H100", "count": 4},
    "gpus": 4,
    "cores": 12,
    "splits": {
        "train": {"name": "x", "split": "train", "images": 10, "classes": 2, "bytes": "ab"},
        "eval": {"name": "x", "split": "validation", "images": 5, "classes": 2, "bytes": "cd"},
    },
    "disk": {"free": 2e9, "speed": 1e8},
    "checkpoint": 3_000_000,
    "sum": {"devices": 12, "seconds": 1e-4, "bytes": 4 << 20, "bytes_seconds": 1e-3},
    "wrong": [],
}


@pytest.fixture
def reports():
    """Of three processes on as many hosts, of which all is well."""
    return [copy.deepcopy(REPORT) | {"host": host} for host in "abc"]


def test_reports_of_which_all_is_well(reports, tmp_path):
    assert mistakes(reports) == warnings(reports) == []
    first, *processes, data, place, total = facts(reports, tmp_path)
    assert first.startswith("vgg_imagenet d: 3 processes on 3 hosts; jaxcnn 0.1.0, jax 0.10.2")
    assert processes[1] == (
        "process 1 (host b); 4 devices (H100); 12 cores; 2.0 GB free, 100 MB/s written; "
        "clock +0.0 s"
    )
    assert data == "Data: x, 2 classes; images: train 10, validation 5"
    assert place == f"Work directory: {tmp_path}; a checkpoint takes 3.0 MB"
    assert total == (
        "A sum over 12 devices: right; 0.10 ms for one number, 1.00 ms for 4 MiB (4.19 GB/s)"
    )


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("started", 1), "e", "it was started as 'vgg_imagenet e' and the others as 'vgg_ima"),
        (("versions", "jax"), "0.10.1", "it has jax 0.10.1 and the others jax 0.10.2;"),
        (("devices", "count"), 1, "it has 1 device (H100) and the others 4 devices (H100);"),
        (("devices", "kind"), "A100", "it has 4 devices (A100) and the others 4 devices (H100);"),
        (("splits", "train", "images"), 9, "x train has 9 images here and 10 on the others;"),
        (("splits", "eval", "classes"), 3, "x validation has 3 classes here and 2 on the oth"),
        (("splits", "eval", "bytes"), "ce", "x validation is as large here as on the others, but"),
        (("wrong",), ["a sentence."], "a sentence."),
    ],
)
@pytest.mark.parametrize("process", [0, 1])
def test_what_differs_is_said_with_the_process(path, value, sentence, process, reports):
    place = reports[process]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (wrong,) = mistakes(reports)
    assert wrong.startswith(f"process {process} (host {'abc'[process]}): {sentence}")


def test_what_is_wrong_on_all_is_said_once(reports):
    for report in reports:
        report["wrong"] = ["a sentence."]
    assert mistakes(reports) == ["all 3 processes: a sentence."]
    reports[1]["wrong"] = []
    assert mistakes(reports) == ["process 0 (host a), process 2 (host c): a sentence."]


def test_what_one_could_not_look_at_is_not_compared(reports, tmp_path):
    reports[0] |= {"devices": None, "splits": None, "disk": None, "checkpoint": None, "sum": None}
    reports[0]["wrong"] = ["a sentence."]
    assert mistakes(reports) == ["process 0 (host a): a sentence."]
    assert len(facts(reports, tmp_path)) == 4


def test_a_clock_that_is_wrong_is_a_warning(reports):
    reports[2]["clock"] += 4
    assert warnings(reports) == []
    reports[2]["clock"] += 60
    assert warnings(reports) == [
        "process 2 (host c): the clock is 64 s ahead of the others'; set it."
    ]
    reports[2]["clock"] -= 100
    assert "the clock is 36 s behind the others'" in warnings(reports)[0]


def test_a_gpu_that_stands_idle_is_a_warning(reports):
    reports[1]["gpus"] = 8
    (warning,) = warnings(reports)
    assert warning.startswith("host b: 4 of its 8 GPUs are used;")
    reports[1]["host"] = reports[2]["host"]
    reports[2]["gpus"] = 8
    assert warnings(reports) == []
    for report in reports:
        report["devices"]["platform"] = "cpu"
    assert [w.partition(" are")[0] for w in warnings(reports)] == [
        "host a: 0 of its 4 GPUs",
        "host c: 0 of its 8 GPUs",
    ]
