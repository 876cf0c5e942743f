"""Two thousand damaged inputs, and that their judge sees what he is there for."""

import ctypes
import os
import subprocess
import time

import numpy as np
import pytest
from fuzzing import run
from malformed import KINDS as REAL
from malformed import Kind

from jaxcnn.errors import UserError

COUNT = 2000


@pytest.fixture(scope="module")
def outcomes():
    return run(COUNT, seed=0)


@pytest.mark.parametrize("kind", REAL)
def test_damage_is_read_or_refused_in_one_sentence(kind, outcomes):
    counts, harm = outcomes
    assert not harm[kind], "\n".join(harm[kind])
    assert counts[kind].keys() == {"read", "refused"}


def test_so_many_were_tried(outcomes):
    assert sum(outcomes[0][kind].total() for kind in REAL) >= COUNT


@pytest.mark.full
def test_more_damage_of_another_seed():
    _, harm = run(30_000, seed=1)
    assert not any(harm.values()), harm


# What would be harm, done by a trial, and what the judge must say of it.
def _outside(folder):
    (folder.parents[1] / f"{folder.parent.name}.outside").touch()


HARM = {
    "crash": (lambda folder: ctypes.string_at(0), "ended the process: status -11"),
    "exit": (lambda folder: os._exit(3), "ended the process: status 3"),
    "error": (lambda folder: {}["key"], "KeyError: 'key'"),
    "no_sentence": (lambda folder: _refuse("what is this"), "no sentence: 'what is this'"),
    "memory": (lambda folder: np.ones(2**25), "took 2"),
    "more_than_there_is": (lambda folder: _refuse_for_memory(), "asked for more memory"),
    "work": (lambda folder: _work(3.1), "took 3."),
    "wait": (lambda folder: time.sleep(100), "Timeout"),
    "command": (lambda folder: subprocess.run(["true"]), "subprocess.Popen"),
    "shell": (lambda folder: os.system("true"), "os.system"),
    "outside": (_outside, ".outside"),
    "nothing": (lambda folder: None, None),
}


def _refuse(sentence):
    raise UserError(sentence)


def _refuse_for_memory():
    try:
        np.ones(2**36)
    except MemoryError as error:
        raise UserError("it is too large.") from error


def _work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def _trial(harm, folder):
    calls = []

    def trial(draw):
        calls.append(draw)
        if len(calls) == 3:  # the warm-up, an input, and this
            harm(folder)

    return trial


KINDS = {
    name: Kind(lambda folder, harm=harm: _trial(harm, folder), 1)
    for name, (harm, _) in HARM.items()
}


def test_the_judge_sees_harm_and_goes_on():
    counts, harm = run(3 * len(KINDS), seed=0, module="test_fuzz", limits=(3, 10, 200))
    for name, (_, says) in HARM.items():
        if says is None:
            assert not harm[name]
        else:
            (sentence,) = harm[name]
            assert sentence.startswith("input 1: ")
            assert says in sentence
        assert counts[name]["read"] >= 2, "the inputs before and after were not read"


def test_an_input_is_a_function_of_its_seed_kind_and_number():
    alone, _ = run(21, seed=5, kinds=["images"])
    together, _ = run(28, seed=5, kinds=["configurations", "images"])
    assert (REAL["images"].share, REAL["configurations"].share) == (6, 2)
    assert alone["images"] == together["images"]
