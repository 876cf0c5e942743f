"""One published figure for each network, as near to one protocol as they are published."""

from jaxcnn.evaluation.published import PUBLISHED, Published

COMPARED = "center"
"""The protocol that most networks have a figure by: the centre of images of 256 pixels."""

_PROTOCOLS = (COMPARED, "ten_crop", "dense", "googlenet_144")


def compared_figures() -> dict[str, Published]:
    """The figures by network: one network, one scale and the centre crop, where there is such.

    Where there is not, it is the paper's own, of ten crops rather than dense, and with a top-1
    error rather than without. Of two by one protocol, it is that of the weights that people load,
    torchvision's; of two trainings, the one at the smaller scale.
    """

    def place(row: Published) -> tuple[object, ...]:
        return (
            row.top1 is None,
            _PROTOCOLS.index(row.protocol),
            len(row.scales),
            not row.source.startswith("torchvision"),
            row.trained or (0, 0),
        )

    single = [row for row in PUBLISHED if len(row.networks) == 1 and row.protocol in _PROTOCOLS]
    figures = {row.networks[0]: row for row in sorted(single, key=place, reverse=True)}
    return dict(sorted(figures.items()))
