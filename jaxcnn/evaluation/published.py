"""What the papers, and the publishers of weights, report on ImageNet's validation images.

An error rate belongs to a network, trained at some scale, and to a protocol at some scales: a row
is for that very combination, and is found by all of it. Left out are figures whose source does not
give their scales (GoogLeNet's one and ten crops), of other images (ILSVRC-2010, test sets), and of
networks that are not here: those trained on more images first, those whose shortcuts are of
another kind, and VGG's submission, in which every network has scales of its own.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Scale = tuple[int, int]
"""The smallest and the largest S of training, in pixels; where they differ it is drawn anew."""


class Published(NamedTuple):
    """One figure of a table.

    Attributes:
      networks: registered names, sorted; several for an ensemble.
      trained: S of the training; None where that was not by a scale, or is not said.
      scales: Q of the test, in pixels, the smallest first.
      top1: top-1 error in %; None where it is not given.
      top5: top-5 error in %, likewise.
      protocol: a name in ``jaxcnn.evaluation.protocols.METHODS``.
      source: where it stands.
    """

    networks: tuple[str, ...]
    trained: Scale | None
    scales: tuple[int, ...]
    top1: float | None
    top5: float | None
    protocol: str
    source: str


Row = tuple[tuple[str, ...], Scale | None, tuple[int, ...], float | None, float | None]

A, A_LRN, B, C, D, E = (
    (name,) for name in ("vgg11", "vgg11_lrn", "vgg13", "vgg16_1x1", "vgg16", "vgg19")
)
S256, S384, JITTER, RESNET = (256, 256), (384, 384), (256, 512), (256, 480)
Q224_288, Q352_416, Q256_512 = (224, 256, 288), (352, 384, 416), (256, 384, 512)
RESNET_SCALES, GOOGLENET_SCALES = (224, 256, 384, 480, 640), (256, 288, 320, 352)

_TABLES: dict[tuple[str, str], tuple[Row, ...]] = {
    ("Simonyan & Zisserman 2014, table 3", "dense"): (
        (A, S256, (256,), 29.6, 10.4),
        (A_LRN, S256, (256,), 29.7, 10.5),
        (B, S256, (256,), 28.7, 9.9),
        (C, S256, (256,), 28.1, 9.4),
        (C, S384, (384,), 28.1, 9.3),
        (C, JITTER, (384,), 27.3, 8.8),
        (D, S256, (256,), 27.0, 8.8),
        (D, S384, (384,), 26.8, 8.7),
        (D, JITTER, (384,), 25.6, 8.1),
        (E, S256, (256,), 27.3, 9.0),
        (E, S384, (384,), 26.9, 8.7),
        (E, JITTER, (384,), 25.5, 8.0),
    ),
    ("Simonyan & Zisserman 2014, table 4", "dense"): (
        (B, S256, Q224_288, 28.2, 9.6),
        (C, S256, Q224_288, 27.7, 9.2),
        (C, S384, Q352_416, 27.8, 9.2),
        (C, JITTER, Q256_512, 26.3, 8.2),
        (D, S256, Q224_288, 26.6, 8.6),
        (D, S384, Q352_416, 26.5, 8.6),
        (D, JITTER, Q256_512, 24.8, 7.5),
        (E, S256, Q224_288, 26.9, 8.7),
        (E, S384, Q352_416, 26.7, 8.6),
        (E, JITTER, Q256_512, 24.8, 7.5),
    ),
    ("Simonyan & Zisserman 2014, table 5", "multi_crop"): (
        (D, JITTER, Q256_512, 24.6, 7.5),
        (E, JITTER, Q256_512, 24.6, 7.4),
    ),
    ("Simonyan & Zisserman 2014, table 5", "dense+multi_crop"): (
        (D, JITTER, Q256_512, 24.4, 7.2),
        (E, JITTER, Q256_512, 24.4, 7.1),
    ),
    ("Simonyan & Zisserman 2014, table 6", "dense"): ((D + E, JITTER, Q256_512, 24.0, 7.1),),
    ("Simonyan & Zisserman 2014, table 6", "multi_crop"): ((D + E, JITTER, Q256_512, 23.9, 7.2),),
    ("Simonyan & Zisserman 2014, table 6", "dense+multi_crop"): (
        (D + E, JITTER, Q256_512, 23.7, 6.8),
    ),
    ("the VGG-16 of MatConvNet, in the README of deep-residual-networks", "center"): (
        (D, None, (256,), 28.5, 9.9),
    ),
    ("He et al. 2015, table 3, their test of the released VGG-16", "ten_crop"): (
        (D, None, (256,), 28.07, 9.33),
    ),
    ("Krizhevsky et al. 2012, table 2", "ten_crop"): (
        (("alexnet",), S256, (256,), 40.7, 18.2),
        (("alexnet",) * 5, S256, (256,), 38.1, 16.4),
    ),
    ("Zeiler & Fergus 2013, table 2", "ten_crop"): (
        (("zfnet",), S256, (256,), 38.4, 16.5),
        (("zfnet",) * 5, S256, (256,), 36.7, 15.3),
        (("zfnet_large",), S256, (256,), 37.5, 16.0),
    ),
    ("Szegedy et al. 2014, table 3", "googlenet_144"): (
        (("googlenet",), None, GOOGLENET_SCALES, None, 7.89),
        (("googlenet",) * 7, None, GOOGLENET_SCALES, None, 6.67),
    ),
    ("He et al. 2015, table 2", "ten_crop"): ((("plain18",), RESNET, (256,), 27.94, None),),
    ("He et al. 2015, table 3", "ten_crop"): (
        (("plain34",), RESNET, (256,), 28.54, 10.02),
        (("resnet34",), RESNET, (256,), 24.52, 7.46),
        (("resnet50",), RESNET, (256,), 22.85, 6.71),
        (("resnet101",), RESNET, (256,), 21.75, 6.05),
        (("resnet152",), RESNET, (256,), 21.43, 5.71),
    ),
    ("He et al. 2015, table 4", "dense"): (
        (("resnet34",), RESNET, RESNET_SCALES, 21.84, 5.71),
        (("resnet50",), RESNET, RESNET_SCALES, 20.74, 5.25),
        (("resnet101",), RESNET, RESNET_SCALES, 19.87, 4.60),
        (("resnet152",), RESNET, RESNET_SCALES, 19.38, 4.49),
    ),
    ("the README of KaimingHe/deep-residual-networks", "center"): (
        (("resnet50",), RESNET, (256,), 24.7, 7.8),
        (("resnet101",), RESNET, (256,), 23.6, 7.1),
        (("resnet152",), RESNET, (256,), 23.0, 6.7),
    ),
    # 100 % less the accuracies there; other versions of the list differ in the second decimal.
    ("torchvision's weights, in timm's list of results", "center"): (
        (("vgg11",), None, (256,), 30.950, None),
        (("vgg13",), None, (256,), 30.050, None),
        (("vgg16",), None, (256,), 28.406, 9.60),
        (("vgg19",), None, (256,), 27.600, None),
        (("vgg11_bn",), None, (256,), 29.626, None),
        (("vgg13_bn",), None, (256,), 28.440, None),
        (("vgg16_bn",), None, (256,), 26.646, None),
        (("vgg19_bn",), None, (256,), 25.770, None),
        (("resnet18",), None, (256,), 30.248, None),
        (("resnet34",), None, (256,), 26.702, None),
        (("resnet50_v1_5",), None, (256,), 23.844, None),
        (("resnet101_v1_5",), None, (256,), 22.596, None),
        (("resnet152_v1_5",), None, (256,), 21.670, None),
    ),
    # The two that the list does not have; 100 % less the accuracies that come with the weights.
    ("torchvision's weights, in their metadata", "center"): (
        (("alexnet_owt",), None, (256,), 43.478, 20.934),
        (("googlenet_bn",), None, (256,), 30.222, 10.470),
    ),
}

PUBLISHED = tuple(
    Published(*row, protocol, source)
    for (source, protocol), rows in _TABLES.items()
    for row in rows
)
"""Every figure."""


def published(
    networks: Sequence[str],
    protocol: str,
    scales: Sequence[int],
    trained: Scale | Literal["unknown"] | None = "unknown",
) -> list[Published]:
    """The figures for a network, or an ensemble, by a protocol at the very same scales.

    Args:
      networks: the registered names, one for each network of the ensemble.
      protocol: the protocol.
      scales: Q of the test, in pixels, in any order.
      trained: S of the training; None where that was not by a scale. Where it is unknown, the
        figures of every S are given, each with its own.
    """
    wanted = tuple(sorted(networks)), protocol, tuple(sorted(scales))
    return [
        row
        for row in PUBLISHED
        if (row.networks, row.protocol, row.scales) == wanted
        and trained in ("unknown", row.trained)
    ]
