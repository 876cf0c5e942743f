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

from experiments.config import Experiment
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
from jaxcnn.files import write_atomically
from jaxcnn.inspection.report import Run, Setting, mistakes_each, report_html
from jaxcnn.training.bucket import is_address
from jaxcnn.training.devices import ParallelConfig, make_layout

_WHERE = {"workdir", "restart", "resume"}  # no preset has anything to say about them


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
    contents, settings, preset = gather(runs, images=arguments.images, output=output)
    page = report_html(contents, settings, preset=preset)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    record = {
        "output": str(path),
        "bytes": len(page.encode()),
        "runs": [{"run": run.workdir, "missing": list(run.missing)} for run in contents],
    }
    output.result(record, f"Written to {path}: {len(page.encode()) / 1e6:.2f} MB.")
    return 0


def gather(
    runs: Sequence[str], *, images: int | None, output: Output
) -> tuple[list[Run], list[Setting], str]:
    """What the page shows, and the name of the preset that a single run is compared with.

    Args:
      runs: work directories, or addresses.
      images: see ``contents_of``.
      output: for remarks, of what is missing.

    Raises:
      UserError: one is no run.
    """
    set_up_jax(ParallelConfig())
    layout = make_layout(ParallelConfig(), own=True)
    with ExitStack() as stack:
        folders = [stack.enter_context(at_hand(run)) for run in runs]
        configs = [run_config(str(folder)) for folder in folders]
        contents = []
        for run, name, folder, config in zip(runs, _names(runs), folders, configs, strict=True):
            contents.append(
                contents_of(
                    folder,
                    config,
                    layout,
                    name=name,
                    workdir=run,
                    images=images,
                    mistakes=mistakes_each(len(runs)),
                )
            )
            for sentence in contents[-1].missing:
                output.note(f"{run}: {sentence}")
            if not is_address(run):
                _show_answers(folder, contents[-1], output)
    if len(runs) > 1:
        return contents, _settings(configs, {}), ""
    recipe, preset, theirs = nearest_preset(configs[0], Path(runs[0]))
    differing = {
        name: shown(value)
        for name, value in differences(configs[0], theirs).items()
        if name not in _WHERE
    }
    return contents, _settings(configs, differing), f"{recipe} {preset}"


def _show_answers(workdir: Path, run: Run, output: Output) -> None:
    """Adds the answers of a finished run to its TensorBoard events, where they can be."""
    if run.answered is not None and (workdir / RESULT).exists():
        try:
            show_answers(workdir, run.answered)
        except UserError as error:
            output.note(f"TensorBoard does not show the answers: {error}")


def _settings(configs: Sequence[Experiment], differing: dict[str, str]) -> list[Setting]:
    """Every field with its value in each run, and the preset's where it differs."""
    return [
        Setting(
            name=each[0].name,
            meaning=each[0].help,
            values=tuple(shown(field.default) for field in each),
            preset=differing.get(each[0].name),
        )
        for each in zip(*map(fields_of, configs), strict=True)
        if len(configs) == 1 or each[0].name not in _WHERE
    ]


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
