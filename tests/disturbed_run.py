"""A recipe's command that is disturbed from within at a given moment.

``python disturbed_run.py MOMENT ARGUMENTS...``, with the arguments of experiments.vgg_imagenet;
the moments are:

  compilation  it is asked to stop as the training step is compiled
  hang:STEP    the training batch of a step, the first of which is 1, never comes
"""

import os
import signal
import sys
import time

from experiments import run
from experiments.vgg_imagenet import RECIPE
from jaxcnn.data.pipeline import TrainBatches
from jaxcnn.training.devices import JitLayout

moment, _, hanging = sys.argv[1].partition(":")


class Lowered:
    """A step at whose compilation the process gets a SIGTERM."""

    def __init__(self, step):
        self._step = step

    def lower(self, *arguments):
        return Lowered(self._step.lower(*arguments))

    def compile(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return self._step.compile()


def compile_disturbed(layout, step, *, donate=(), compiled=JitLayout.compile):
    function = compiled(layout, step, donate=donate)
    return Lowered(function) if step.__name__ == "train_step" else function


def never_comes(batches, step, read=TrainBatches.__getitem__):
    while step + 1 == int(hanging):
        time.sleep(1)
    return read(batches, step)


if __name__ == "__main__":
    if moment == "hang":
        TrainBatches.__getitem__ = never_comes
    else:
        JitLayout.compile = compile_disturbed
    sys.exit(run.main(RECIPE, sys.argv[2:]))
