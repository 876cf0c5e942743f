"""A second start of a command finds what the first one compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.full
def test_the_second_start_compiles_nothing(tmp_path):
    cache = tmp_path / "cache"
    programs, seconds = [], []
    for number in range(2):
        workdir = tmp_path / f"run{number}"
        subprocess.run(
            [
                *(sys.executable, "-m", "experiments.resnet_imagenet", "--config=digits"),
                "--config.train.steps=1",
                "--config.train.log_every=1",
                "--config.train.exact_statistics=0",
                "--config.schedule.warmup_epochs=0",
                f"--config.workdir={workdir}",
            ],
            env=os.environ | {"JAXCNN_CACHE": str(cache), "PYTHONPATH": os.getcwd()},
            check=True,
            capture_output=True,
            cwd=Path(__file__).parents[1],
        )
        # Whether the smallest take long enough to be kept depends on the machine's mood.
        large = ("jit_create_state-", "jit_train_step-", "jit_eval_step-")
        programs.append([path.name for kind in large for path in cache.glob(f"xla/{kind}*-cache")])
        first = (workdir / "timings.jsonl").read_text().splitlines()[0]
        seconds.append(json.loads(first)["spent"]["compilation"])
    assert len(programs[0]) == 3
    assert programs[1] == programs[0]
    # What is left of it is tracing.
    assert seconds[1] < seconds[0] / 2
