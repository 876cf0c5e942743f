# PYTHON_ARGCOMPLETE_OK
"""The weights of a run in a folder to share: ``python -m experiments.share``.

    python -m experiments.share --run=runs/vgg_imagenet/digits --output=vgg-digits
    hf upload USER/MODEL vgg-digits
    python -m jaxcnn predict vgg11 --weights=USER/MODEL photo.png

It is the best checkpoint, else the newest, with what it knows of its classes and of its images, and
the accuracy of that state on the split that the run was evaluated on. The folder is laid out as the
Hugging Face hub expects; `load_pretrained` and `python -m jaxcnn` take it, here or from the hub.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.copies import at_hand
from experiments.members import Member, of_run, run_config
from experiments.options import parse_options
from experiments.workdir import RESULT
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.cli.share import written
from jaxcnn.errors import UserError
from jaxcnn.files import read_object
from jaxcnn.pretrained import save_folder
from jaxcnn.pretrained.model_card import Measured


@dataclasses.dataclass(frozen=True)
class ShareConfig:
    """What is shared, and where it is put.

    Attributes:
      run: the work directory of a run, or what it was copied to (its checkpoint.bucket).
      output: the folder that is written; there is none yet.
      license: of the weights, by its name on the Hugging Face hub, such as 'apache-2.0'; None: the
        card names none.
    """

    run: str | None = None
    output: str | None = None
    license: str | None = None

    def check(self) -> None:
        """Raises a UserError for values that cannot work."""
        if self.run is None or self.output is None:
            raise UserError("nothing to share: give --run=WORKDIR and --output=FOLDER.")


def main(argv: Sequence[str], output: Output) -> int:
    """Writes the folder that the command line asks for; returns the exit status."""
    config = parse_options(
        argv, ShareConfig(), program="python -m experiments.share", description=__doc__
    )
    config.check()
    run, folder = str(config.run), str(config.output)
    member = of_run(run, run_config(run))
    share(member, folder, license_name=config.license, measured=measured(run))
    output.result({"network": member.name, "folder": folder}, written(folder))
    return 0


def share(
    member: Member, output: str, *, license_name: str | None, measured: Sequence[Measured]
) -> None:
    """Writes a trained network, with how its images were made, to a folder.

    Raises:
      UserError: the folder cannot be written.
    """
    save_folder(
        output,
        member.model,
        member.variables,
        preprocessing=dataclasses.replace(
            member.preprocessing,
            shorter_side=member.scale,
            crop=member.image_size,
            padding=member.padding,
        ),
        class_names=member.class_names,
        license_name=license_name,
        about=f"`{member.name}`, trained by a recipe of jaxcnn.",
        measured=measured,
    )


def measured(workdir: str) -> list[Measured]:
    """What the best state of a run reached in its own evaluation; nothing of an unfinished run.

    Raises:
      UserError: its result is damaged.
    """
    with at_hand(workdir, checkpoints=False) as folder:
        if not (folder / RESULT).exists():
            return []
        try:
            return _measured(read_object(folder / RESULT))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{Path(workdir) / RESULT} is damaged ({type(error).__name__}: {error}); remove "
                "it, and the run's own command writes it again."
            ) from error


def _measured(result: dict[str, Any]) -> list[Measured]:
    best = result["best"]
    if best is None:
        return []
    how = f"best evaluation, after epoch {best['epoch']:g}, of {result['examples']:,} images"
    return [Measured("top-1 accuracy", float(best["accuracy"]), str(result["split"]), how)]


if __name__ == "__main__":
    sys.exit(run_main(main, "share"))
