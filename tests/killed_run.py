"""A recipe's command that dies as by ``kill -9``, or hangs, at a given moment.

``python killed_run.py MOMENT:COUNT ARGUMENTS...``, with the arguments of
experiments.vgg_imagenet, dies when it has come to the moment COUNT times:

  step            a training step is dispatched and still running
  evaluation      the same of an evaluation step
  save            a checkpoint's arrays are written, its folder has not its final name
  between_epochs  an evaluation is in the records, and no checkpoint knows of it
  compilation     it is only asked to stop, as the training step is compiled
  hang            it does not die, but this training batch never comes
"""

import os
import signal
import sys
import time

from experiments import run
from experiments.vgg_imagenet import RECIPE
from jaxcnn.data.pipeline import TrainBatches
from jaxcnn.training import manifest
from jaxcnn.training.devices import JitLayout
from jaxcnn.training.records import Records

moment, _, count = sys.argv[1].partition(":")
left = int(count)


def deadly(function, is_the_moment=lambda *_: True):
    """``function``, after whose COUNT-th call at the moment the process is no more."""

    def call(*args, **kwargs):
        global left
        result = function(*args, **kwargs)
        left -= is_the_moment(*args)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


class Lowered:
    """A step that is deadly once it is compiled ahead."""

    def __init__(self, step):
        self._step = step

    def lower(self, *arguments):
        return Lowered(self._step.lower(*arguments))

    def compile(self):
        if moment == "compilation":
            os.kill(os.getpid(), signal.SIGTERM)
        return deadly(self._step.compile())


def compile_deadly(layout, step, *, donate=(), compiled=JitLayout.compile):
    function = compiled(layout, step, donate=donate)
    wanted = "eval_step" if moment == "evaluation" else "train_step"
    return Lowered(function) if step.__name__ == wanted else function


def never_comes(batches, step, read=TrainBatches.__getitem__):
    while step + 1 == left:
        time.sleep(1)
    return read(batches, step)


if __name__ == "__main__":
    if moment == "save":
        manifest.write = deadly(manifest.write)
    elif moment == "between_epochs":
        Records.metrics = deadly(Records.metrics, lambda records, kind, *_: kind == "eval")
    elif moment == "hang":
        TrainBatches.__getitem__ = never_comes
    else:
        JitLayout.compile = compile_deadly
    sys.exit(run.main(RECIPE, sys.argv[2:]))
