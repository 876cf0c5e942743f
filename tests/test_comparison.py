"""Contestants side by side: the ratio that is told, the peers, and what is said of a mistake."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments import benchmark
from experiments import contestants as peers
from experiments.comparison import Measured, compare, lines, table
from experiments.contestants import Task, check_peer, ours
from experiments.contestants.plain_flax import max_pool
from jaxcnn.cli.exit_status import run_main
from jaxcnn.errors import UserError
from jaxcnn.models.layers import MaxPool

TASK = Task("vgg_small", "inference", 2, 32, 4, "float32", devices=1)


def measured(name, *seconds):
    return Measured(name, {}, seconds, 2**30)


def test_a_ratio_is_that_of_the_same_rounds():
    # A machine that slows down slows both; the medians of all rounds would say nothing of that.
    ours, peer = measured("ours", 1.0, 2.0, 4.0, 8.0), measured("peer", 3.0, 6.0, 12.0, 24.0)
    assert ours.ratio(peer) == pytest.approx(3)
    assert peer.ratio(ours) == pytest.approx(1 / 3)
    assert ours.images_per_second(6) == (2.0, 0.75, 6.0)


def test_no_ratio_is_told_where_the_spread_swallows_it():
    ours, peer = measured("ours", 1.0, 1.0, 1.0, 1.0), measured("peer", 0.8, 0.9, 1.2, 1.5)
    assert ours.ratio(peer) is None
    assert "not told apart" in table(lines([ours, peer], TASK))


def test_one_bad_round_does_not_hide_the_others():
    ours = measured("ours", 1.0, 1.0, 1.0, 1.0, 1.0)
    assert ours.ratio(measured("peer", 0.5, 2.0, 2.0, 2.1, 1.9)) == pytest.approx(2.0)


def test_contestants_take_turns_and_are_printed(tmp_path, capsys):
    output = tmp_path / "speed.json"
    arguments = ["--model=vgg_small", "--mode=inference", "--batch_size=2", "--image_size=32"]
    arguments += ["--num_classes=4", "--devices=1", "--rounds=2", "--steps=1", "--compare=flax"]
    assert run_main(benchmark.main, "benchmark", [*arguments, f"--output={output}"]) == 0
    *printed, _, ours, peer = capsys.readouterr().out.splitlines()
    contestants = [json.loads(line) for line in printed]
    assert [line["contestant"] for line in contestants] == ["jaxcnn", "flax"]
    assert json.loads(output.read_text())["contestants"] == contestants
    for line, row in zip(contestants, (ours, peer), strict=True):
        assert row.startswith(line["contestant"])
        assert f"{line['images_per_second']:.2f}" in row
        assert line["images_per_second"] == pytest.approx(2000 / line["milliseconds_per_step"])
        assert line["peak_memory_bytes"] > 2**26
    assert run_main(benchmark.main, "benchmark", [f"--summary={output}"]) == 0
    *_, row = capsys.readouterr().out.splitlines()
    ours, peer = (f"{line['images_per_second']:.2f}" for line in contestants)
    assert row.startswith(f"| vgg_small | inference, batch 2 | {ours} | {peer} (")


@pytest.mark.parametrize("pool", [(2, 2, 0, False), (3, 2, 0, True), (3, 2, 1, False)])
@pytest.mark.parametrize("side", [12, 13])
def test_plain_pools_are_the_same(pool, side):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, side, side, 3)), jnp.float32)
    ours = MaxPool(*pool).apply({}, x)
    with nn.intercept_methods(max_pool):
        plain = jax.jit(MaxPool(*pool).apply)({}, x)
        compiled = str(jax.make_jaxpr(MaxPool(*pool).apply)({}, x))
    assert "reduce_window" in compiled
    np.testing.assert_array_equal(plain, ours)


def test_an_unknown_peer_and_a_missing_package_are_one_sentence(monkeypatch):
    with pytest.raises(UserError, match="did you mean 'torch'"):
        check_peer("troch")
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install torch torchvision"):
        check_peer("torch-compile")


@pytest.mark.parametrize(("written", "word"), [(None, "cannot be read"), ("{}", "no comparison")])
def test_a_summary_of_something_else_is_one_sentence(written, word, tmp_path, capsys):
    file = tmp_path / "speed.json"
    if written is not None:
        file.write_text(written)
    assert run_main(benchmark.main, "benchmark", [f"--summary={file}"]) == 2
    assert word in capsys.readouterr().err


def test_the_sentence_of_a_contestant_is_passed_on():
    with pytest.raises(UserError, match="jaxcnn: there is no model 'vgg15'; did you mean"):
        compare(
            ["jaxcnn"], Task("vgg15", "train", 1, 32, 4, "float32", devices=1), rounds=1, steps=1
        )


@pytest.mark.parametrize(("name", "devices"), [("jaxcnn", 4), ("one-device", 1)])
def test_one_device_computes_what_several_share(name, devices, monkeypatch):
    class EnoughError(Exception):
        pass

    def compile_step(task, layout):
        assert task.batch_size == 8
        assert len(layout.devices) == devices
        raise EnoughError

    monkeypatch.setattr(ours, "compile_step", compile_step)
    with pytest.raises(EnoughError):
        peers.prepare(name, dataclasses.replace(TASK, batch_size=8, devices=4))


def test_the_deterministic_one_is_told_before_it_computes(monkeypatch):
    jax.devices()
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(UserError, match="too late"):
        peers.prepare("deterministic", TASK)
