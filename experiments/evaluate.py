# PYTHON_ARGCOMPLETE_OK
"""Evaluates trained networks by the protocols of the papers.

    python -m experiments.evaluate --model=vgg16 --weights=vgg16-397923af.pth --protocol=ten_crop
    python -m experiments.evaluate --run=runs/vgg_imagenet/d --protocol=dense --scales=224,256,288
    python -m experiments.evaluate --run=WORKDIR_OF_D,WORKDIR_OF_E --protocol=dense+multi_crop

A file of weights (of torchvision, timm, Keras, or ours) needs the name of its network; a run is
named by its work directory, and its best checkpoint, else its newest, is taken. Several of either,
separated by commas, are an ensemble.

The protocols: `center`, one crop; `ten_crop`, the corners and the centre of the central square, and
their mirror images; `multi_crop`, 5 x 5 crops and their mirror images; `googlenet_144`, 36 crops at
each of four scales; `dense`, the network swept over the whole image and its mirror image;
`dense+multi_crop`. At each scale Q the image's shorter side is rescaled to Q. The softmax outputs
of all views, all scales, both methods and all networks are averaged evenly.

The images are those that the run was evaluated on, or ImageNet's validation images. On the latter
the figure published for the same network, protocol and scales is shown beside the result.

Several processes (`--parallel.coordinator`, ...) share the images, each on its own devices.
"""

import dataclasses
import functools
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax

from experiments import environment, evaluation_files, results
from experiments.answering import answers_of
from experiments.config import Experiment
from experiments.ensemble import class_names_of, figures_of, members_of
from experiments.evaluation_config import EvaluateConfig
from experiments.members import Member, run_config
from experiments.options import parse_options
from experiments.run import set_up_jax
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.sources import open_source
from jaxcnn.errors import UserError
from jaxcnn.evaluation.classifier import stride_of
from jaxcnn.evaluation.protocols import looks, usual_scales
from jaxcnn.evaluation.scores import class_counts, error
from jaxcnn.training.bucket import is_address
from jaxcnn.training.devices import make_layout
from jaxcnn.training.processes import joined, wait_for_all

IMAGENET_VALIDATION = 50_000


def main(argv: Sequence[str], output: Output) -> int:
    """Evaluates what the command line asks for; returns the exit status."""
    config = parse_options(
        argv,
        EvaluateConfig(),
        program="python -m experiments.evaluate",
        description=__doc__,
    )
    config.check()
    set_up_jax(config.parallel)
    try:
        with joined(config.parallel):
            evaluate(config, output)
    except UserError as error:  # of an image, in the words of a training's options
        raise UserError(str(error).replace("--config.data.", "--")) from error
    return 0


def evaluate(config: EvaluateConfig, output: Output) -> None:
    """Evaluates, and on process 0 writes what comes of it and says so.

    Raises:
      UserError: the networks, the images or the folder cannot work.
    """
    started = time.monotonic()
    layout = make_layout(config.parallel, own=True)
    runs = [run_config(workdir) for workdir in config.run]
    data = _data(config, runs)
    source = open_source(data.source, data.eval_split, data_dir=data.data_dir)
    members = members_of(config, runs)
    class_names = class_names_of(members, source)
    first = members[0]
    scales = config.scales or usual_scales(config.protocol, first.scale, first.image_size)
    looked = looks(config.protocol, scales)
    stride = stride_of(members, looked)
    data = dataclasses.replace(data, padding=first.padding, channels=first.channels)
    answer = functools.partial(
        answers_of,
        members,
        looked,
        source,
        data,
        layout,
        stride=stride,
        batch_size=config.batch_size,
    )
    if jax.process_index() != 0:
        answer()
        wait_for_all()
        return
    hardware = environment.hardware(layout.devices if jax.process_count() == 1 else jax.devices())
    path = Path(config.output or _output(config, members, data.eval_split, scales))
    with evaluation_files.folder_for(path) as folder:
        print(f"{'; '.join(m.title for m in members)}; on {hardware}.", flush=True)
        answers, skipped, shapes = answer()
        whole = (data.eval_split, len(answers)) == ("validation", IMAGENET_VALIDATION)
        result = {
            "networks": [member.title for member in members],
            "protocol": config.protocol,
            "scales": list(scales),
            "image_size": first.image_size,
            "split": f"{source.name} {data.eval_split}",
            "examples": len(answers),
            "skipped": skipped,
            "top1": error(answers, 1),
            "top5": error(answers, 5),
            # None where nothing is published for other images anyway.
            "published": figures_of(config.protocol, scales, members)
            if whole and source.name.partition(":")[0] == "imagenet2012"
            else None,
            "classes": results.class_accuracy(
                *class_counts(answers, len(class_names)), class_names
            ),
            "shapes": shapes,
            "hardware": hardware,
            "versions": environment.versions(),
            "seconds": round(time.monotonic() - started, 1),
        }
        evaluation_files.write(folder, result, answers, class_names)
    output.result(result, evaluation_files.text(result, path))
    wait_for_all()


def _data(config: EvaluateConfig, runs: Sequence[Experiment]) -> DataConfig:
    """Which images, and how they are read."""
    usual = DataConfig(source="imagenet2012", eval_split="validation", workers=0)
    of_run = runs[0].data if runs else usual
    split = of_run.test_split or of_run.eval_split
    data = dataclasses.replace(
        of_run,
        source=config.source or of_run.source,
        data_dir=config.data_dir or of_run.data_dir,
        eval_split=config.split or split,
        on_error=config.on_error,
        workers=config.workers,
        threads=config.threads,
    )
    data.check()
    return data


def _output(
    config: EvaluateConfig, members: Sequence[Member], split: str, scales: Sequence[int]
) -> Path:
    """Where an evaluation of these networks is put."""
    kind = f"{split}_{config.protocol}_{'-'.join(map(str, scales))}"
    name = re.sub(r"[^\w.+-]+", "_", kind)
    if len(members) == 1 and config.run and not is_address(config.run[0]):
        return Path(config.run[0]) / "evaluation" / name
    return Path("evaluations") / "+".join(member.name for member in members) / name


if __name__ == "__main__":
    sys.exit(run_main(main, "evaluate"))
