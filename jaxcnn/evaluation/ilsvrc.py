"""The classification task of ILSVRC, the ImageNet challenge, by year."""

from typing import NamedTuple


class Entry(NamedTuple):
    """What a team reached.

    Attributes:
      year: of the challenge.
      name: of the team or its network.
      what: of it was entered.
      top5: top-5 error in % on the test images.
      here: whether the network is one of ``jaxcnn.models``.
      source: where the figure stands.
    """

    year: int
    name: str
    what: str
    top5: float
    here: bool
    source: str


ENTRIES = (
    Entry(2012, "second place", "", 26.2, False, "Krizhevsky et al. 2012, abstract"),
    Entry(2012, "AlexNet", "five networks", 16.4, True, "Krizhevsky et al. 2012, table 2"),
    Entry(
        2012,
        "AlexNet",
        "seven, two pre-trained on more images",
        15.3,
        True,
        "Krizhevsky et al. 2012, table 2",
    ),
    Entry(2013, "Clarifai", "several networks", 11.7, False, "Simonyan & Zisserman 2014, table 7"),
    Entry(2014, "VGG", "seven networks", 7.3, True, "Simonyan & Zisserman 2014, table 6"),
    Entry(2014, "GoogLeNet", "seven networks", 6.7, True, "Szegedy et al. 2014, table 3"),
    Entry(2015, "ResNet", "six networks", 3.57, True, "He et al. 2015, table 5"),
)
"""By year, from the greatest error to the least.

ZFNet was an entry of 2013 too; the 11.7 % of that year, often taken for its, are Clarifai's.
"""
