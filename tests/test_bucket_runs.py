"""Real runs whose copies lie in buckets of servers that stand in for Google's and Amazon's."""

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import chex
import fsspec
import pytest
from command_run import assert_same_run, finish, steps, wait_for_records
from test_resume import start_disturbed
from test_troubled_runs import ARGUMENTS

from experiments import checkpoints as command
from experiments.faults.small_run import free_port, start, start_several
from experiments.members import of_run, run_config
from jaxcnn.cli.output import Output
from jaxcnn.training.bucket import Bucket
from jaxcnn.training.bucket_checkpoints import copies_of
from jaxcnn.training.checkpoint_reading import read_variables

GOOGLE = "import gcp_storage_emulator.__main__ as m; m.main(['start', '--port={port}', \
'--host=127.0.0.1', '--in-memory', '--default-bucket=jaxcnn'])"
AMAZON = "import time, moto.server as m; m.ThreadedMotoServer('127.0.0.1', {port}).start(); \
time.sleep(10**6)"
# For several processes, and long enough that their machines are lost in the midst of it.
LONG = (
    *(a for a in ARGUMENTS if "epochs=3" not in a and "devices=1" not in a),
    "--config.train.epochs=20",
)


@pytest.fixture(scope="module", params=["gs", pytest.param("s3", marks=pytest.mark.full)])
def store(request):
    """The address of a bucket in a server of its own."""
    if request.param == "s3":
        for package in ("s3fs", "moto", "flask"):
            pytest.importorskip(
                package, reason="needs `pip install s3fs 'moto[s3]' flask flask-cors`"
            )
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "STORAGE_EMULATOR_HOST": url,
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "anyone",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        code = (GOOGLE if request.param == "gs" else AMAZON).format(port=port)
        silent = subprocess.DEVNULL
        server = subprocess.Popen([sys.executable, "-c", code], stdout=silent, stderr=silent)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(url, timeout=1).close()
                    break
                except urllib.error.HTTPError:
                    break
                except OSError:
                    time.sleep(0.2)
            if request.param == "s3":
                fsspec.filesystem("s3", use_listings_cache=False).mkdir("jaxcnn")
            yield f"{request.param}://jaxcnn"
        finally:
            server.kill()
            server.wait()


def wait_for_copies(address, processes):
    """Returns when there is a whole checkpoint of a step in the bucket, or the run has ended."""
    bucket = Bucket(address)
    while all(p.poll() is None for p in processes):
        copies = copies_of(bucket.objects())
        if any(c.whole and c.folder == "checkpoints" for c in copies):
            return
        time.sleep(0.2)


# gcsfs sends a chunk as the bytes that it is, of which aiohttp warns above a megabyte.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_what_is_uploaded_arrives_to_the_byte(store, tmp_path):
    """Also where the next byte of the request could be taken for a part of it."""
    bucket, wanted, files = Bucket(f"{store}/bytes"), {}, {}
    for size in (1, 1000, 6 << 20):
        for end in (b"\r", b"\n", b"\r\n", b"\r\r", b"\0", b"--==0==--"):
            name = f"{size}/{end.hex()}"
            wanted[name] = bytes(range(256)) * (size // 256) + end
            files[name] = tmp_path / name.replace("/", "-")
            files[name].write_bytes(wanted[name])
    wanted["empty"], files["empty"] = b"", tmp_path / "empty"
    files["empty"].touch()
    bucket.upload(files)
    assert {name: bucket.read(name) for name in files} == wanted


def test_its_machine_is_lost_and_another_one_goes_on(store, tmp_path, capsys):
    address = f"{store}/lost"
    copied = f"--config.checkpoint.bucket={address}"
    # It comes to the batch of step 14 and no further.
    process = start_disturbed(tmp_path / "one", "hang:14", *ARGUMENTS, copied)
    wait_for_copies(address, [process])
    process.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -9, errors
    shutil.rmtree(tmp_path / "one")
    other = start(tmp_path / "other", *ARGUMENTS, copied)
    output, errors = other.communicate(timeout=300)
    assert other.returncode == 0, errors
    assert f"from {address}." in errors
    assert "Continuing from step" in output
    finish(start(tmp_path / "undisturbed", *ARGUMENTS))
    assert_same_run(tmp_path / "other", tmp_path / "undisturbed")

    assert command.main([f"--workdir={address}"], Output()) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    # An older one than the newest may have been lost with the machine, and is not made again.
    own, all_of_them = steps(tmp_path / "other"), steps(tmp_path / "undisturbed")
    assert [row.split()[0] for row in rows][:-1] == [f"checkpoints/{step}" for step in own]
    assert own[-1] == all_of_them[-1]
    assert set(own) <= set(all_of_them)
    member = of_run(address, run_config(address))
    theirs = read_variables(tmp_path / "undisturbed")
    chex.assert_trees_all_equal(member.variables, theirs)


@pytest.mark.full
def test_two_processes_are_lost_and_two_others_go_on(store, tmp_path):
    address = f"{store}/two"
    copied = f"--config.checkpoint.bucket={address}"
    processes = start_several(tmp_path / "one", *LONG, copied)
    wait_for_records(tmp_path / "one", processes)
    wait_for_copies(address, processes)
    for process in processes:
        process.kill()
    told = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [-9, -9], told
    shutil.rmtree(tmp_path / "one")
    others = start_several(tmp_path / "other", *LONG, copied)
    told = [finish(process) for process in others]
    assert "Continuing from step" in told[0]
    for process in start_several(tmp_path / "undisturbed", *LONG):
        finish(process)
    assert_same_run(tmp_path / "other", tmp_path / "undisturbed")
