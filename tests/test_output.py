"""`--json` and `--quiet` of a run: the result alone, and no words but those of use."""

import json

import pytest
from recipe_runs import SHORT, called, result, run

from experiments import checkpoints
from jaxcnn.cli.exit_status import run_main

OPTIONS = (*SHORT, "--config=digits", "--config.train.steps=1")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Of a run that was asked for JSON; what it printed is tested here too."""
    folder = tmp_path_factory.mktemp("output") / "run"
    ran = run("lenet_mnist", *OPTIONS, f"--config.workdir={folder}", "--json")
    assert json.loads(ran.output) == result(folder)
    assert "work directory" in ran.errors
    assert "epoch 0.01: training loss" in ran.errors
    return folder


def test_a_quiet_run_says_its_result_alone(tmp_path):
    ran = run("lenet_mnist", *OPTIONS, f"--config.workdir={tmp_path}/run", "--quiet")
    assert ran.output.startswith("Result: top-1 accuracy")
    assert ran.errors == ""


def test_a_finished_run_gives_its_result_again(workdir):
    ran = run("lenet_mnist", *OPTIONS, f"--config.workdir={workdir}", "--json", "--quiet")
    assert json.loads(ran.output) == result(workdir)
    assert ran.errors == ""


def test_checkpoints_are_listed_a_line_to_each(workdir):
    ran = called(run_main, checkpoints.main, "checkpoints", [f"--workdir={workdir}", "--json"])
    listed = [json.loads(line) for line in ran.output.splitlines()]
    assert [each["name"] for each in listed] == ["checkpoints/1", "best/1"]
    assert {each["state"] for each in listed} == {"whole"}
