# PYTHON_ARGCOMPLETE_OK
"""VGG's columns A, A-LRN, B, C, D and E under one recipe: error against depth (Table 3).

    python -m experiments.depth_study --config=digits
    python -m experiments.depth_study --config=imagenet

The paper's point is that the error falls with depth and levels off at 19 layers, and that local
response normalisation does not help. Its top-1 errors, single scale, dense evaluation, S = 256: A
29.6, A-LRN 29.7, B 28.7, C 28.1, D 27.0, E 27.3 %.

`digits` trains all six in a small form on the embedded 8x8 digits, enlarged to 32x32: width 16, two
hidden layers of 128 units on one position, He's initialisation and a dropout of 0.2 everywhere, for
with Glorot's and 0.5 the deepest does not begin to learn; Adam at 1e-3 with a cosine schedule,
batch 64, shifts of up to 2 pixels, 8 epochs, three seeds. All of that is ours. Digits this small
are no measure of what depth is worth on photographs: one of the 359 test images is 0.28 %.

`imagenet` is the paper's recipe with one seed, the centre crop after each epoch: not measured.
"""

import sys
from dataclasses import replace

from experiments.study import Study, StudyConfig, main
from experiments.vgg_imagenet import COLUMNS, DIGITS, PAPER

LAYERS = {"a": 11, "a_lrn": 11, "b": 13, "c": 16, "d": 16, "e": 19}


def _label(column: str) -> str:
    return f"{column.upper().replace('_', '-')}\n{LAYERS[column]} layers"


STUDY = Study(
    name="depth_study",
    description=__doc__,
    presets={
        "digits": StudyConfig.of(
            DIGITS,
            train=replace(DIGITS.train, epochs=8),
            checkpoint=replace(DIGITS.checkpoint, keep=1),
        ),
        "imagenet": StudyConfig.of(PAPER, seeds=(0,)),
    },
    summaries={
        "digits": "narrow, on the embedded digits, three seeds, minutes on 2 cores",
        "imagenet": "the paper's recipe, one seed",
    },
    default="digits",
    variations={column: {"model.name": name} for column, name in COLUMNS.items()},
    panels={"VGG": {_label(column): column for column in COLUMNS}},
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
