# PYTHON_ARGCOMPLETE_OK
"""A page about a run, or about several: one HTML file that holds all it shows.

    python -m experiments.report runs/vgg_imagenet/digits
    python -m experiments.report runs/vgg_imagenet/digits runs/other --output=both.html

Result, curves, configuration (beside the nearest preset; of several runs what differs), accuracy
per class, confusions, the worst mistakes as pictures, the first layer's filters, where the time
went, and the environment. The run may be unfinished; what it does not have is said in the page. A
run is named by its work directory, or by what it was copied to (its checkpoint.bucket).

The network is asked about the images that the run was tested or evaluated on: that of the best
checkpoint, else of the newest. Of a finished run the confusions and the mistakes are added to its
TensorBoard events, too.
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from experiments.config import WHERE, Experiment
from experiments.copies import at_hand
from experiments.fields import fields_of
from experiments.members import run_config
from experiments.nearest_preset import differences, nearest_preset
from experiments.run import set_up_jax
from experiments.run_contents import contents_of
from experiments.tensorboard import show_answers
from experiments.values import shown
from experiments.workdir import RESULT
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically, writing
from jaxcnn.inspection.report import Run, Setting, mistakes_each, report_html
from jaxcnn.training.bucket import is_address
from jaxcnn.training.devices import ParallelConfig, make_layout


def main(argv: Sequence[str], output: Output) -> int:
    """Writes the page that the command line asks for; returns the exit status."""
    parser = Parser("python -m experiments.report", __doc__ or "")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the work directory of a run")
    parser.add_argument(
        "--output",
        metavar="FILE.html",
        help="the page (default: report.html, in the work directory of a single run)",
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="ask the network about so many images at most, evenly spread; 0: about none "
        "(default: all of the split)",
    )
    arguments = parser.read(argv)
    if arguments.images is not None and arguments.images < 0:
        raise UserError(f"--images={arguments.images} must be 0 or more.")
    runs = list(dict.fromkeys(arguments.runs))
    path = Path(arguments.output or _output(runs))
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output={path} is no page; give a file that ends in .html.")
    with ExitStack() as stack:
        folders = [stack.enter_context(at_hand(run)) for run in runs]
        configs = [run_config(str(folder)) for folder in folders]
        with writing(path):  # which is to be known before the network is asked anything
            path.parent.mkdir(parents=True, exist_ok=True)
        contents = _contents(runs, folders, configs, arguments.images, output)
    settings, preset = _settings(configs, Path(runs[0]))
    page = report_html(contents, settings, preset=preset)
    write_atomically(path, page)
    record = {
        "output": str(path),
        "bytes": len(page.encode()),
        "runs": [{"run": run.workdir, "missing": list(run.missing)} for run in contents],
    }
    output.result(record, f"Written to {path}: {len(page.encode()) / 1e6:.2f} MB.")
    return 0


def _contents(
    runs: Sequence[str],
    folders: Sequence[Path],
    configs: Sequence[Experiment],
    images: int | None,
    output: Output,
) -> list[Run]:
    """What there is to show of each run; of what there is not a remark is made."""
    set_up_jax(ParallelConfig())
    layout = make_layout(ParallelConfig(), own=True)
    contents = []
    for run, name, folder, config in zip(runs, _names(runs), folders, configs, strict=True):
        found = contents_of(
            folder,
            config,
            layout,
            name=name,
            workdir=run,
            images=images,
            mistakes=mistakes_each(len(runs)),
        )
        for sentence in found.missing:
            output.note(f"{run}: {sentence}")
        if not is_address(run):
            _show_answers(folder, found, output)
        contents.append(found)
    return contents


def _show_answers(workdir: Path, run: Run, output: Output) -> None:
    """Adds the answers of a finished run to its TensorBoard events, where they can be."""
    if run.answered is not None and (workdir / RESULT).exists():
        try:
            show_answers(workdir, run.answered)
        except UserError as error:
            output.note(f"TensorBoard does not show the answers: {error}")


def _settings(configs: Sequence[Experiment], workdir: Path) -> tuple[list[Setting], str]:
    """Every field with its value in each run, and the name of the preset that one is beside.

    Args:
      configs: of the runs.
      workdir: of the first.
    """
    differing, name, left_out = {}, "", WHERE
    if len(configs) == 1:
        recipe, preset, theirs = nearest_preset(configs[0], workdir)
        differing, name = differences(configs[0], theirs), f"{recipe} {preset}"
        left_out = frozenset()
    return [
        Setting(
            name=ours.name,
            meaning=ours.help,
            values=tuple(shown(field.default) for field in (ours, *others)),
            preset=shown(differing[ours.name])
            if ours.name in differing and ours.name not in WHERE
            else None,
        )
        for ours, *others in zip(*map(fields_of, configs), strict=True)
        if ours.name not in left_out
    ], name


def _names(runs: Sequence[str]) -> list[str]:
    """The shortest ends of the runs' paths by which they are told apart."""
    parts = [run.rstrip("/").split("/") for run in runs]
    length = 1
    while length < max(map(len, parts)) and len({tuple(p[-length:]) for p in parts}) < len(parts):
        length += 1
    return ["/".join(p[-length:]) for p in parts]


def _output(runs: Sequence[str]) -> Path:
    alone = len(runs) == 1 and not is_address(runs[0])
    return (Path(runs[0]) if alone else Path()) / "report.html"


if __name__ == "__main__":
    sys.exit(run_main(main, "report"))
