"""A recipe's command that dies as by ``kill -9`` at a given moment.

``python killed_run.py MOMENT:COUNT ARGUMENTS...``, with the arguments of
experiments.vgg_imagenet, dies when it has come to the moment COUNT times:

  step            a training step is dispatched and still running
  evaluation      the same of an evaluation step
  save            a checkpoint's arrays are written, its folder has not its final name
  between_epochs  an evaluation is in the records, and no checkpoint knows of it
"""

import os
import signal
import sys

from experiments import run
from experiments.vgg_imagenet import RECIPE
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


def compile_deadly(layout, step, *, donate=(), compiled=JitLayout.compile):
    function = compiled(layout, step, donate=donate)
    wanted = {"step": "train_step", "evaluation": "eval_step"}[moment]
    return deadly(function) if step.__name__ == wanted else function


if __name__ == "__main__":
    if moment == "save":
        manifest.write = deadly(manifest.write)
    elif moment == "between_epochs":
        Records.metrics = deadly(Records.metrics, lambda records, kind, *_: kind == "eval")
    else:
        JitLayout.compile = compile_deadly
    sys.exit(run.main(RECIPE, sys.argv[2:]))
