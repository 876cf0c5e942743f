"""Published speeds of the links between accelerators, and how long exchanges over them take.

An accelerator has a fast link to those of its domain (a node of GPUs, a pod of TPUs) and a slower
one to those of other domains. The times are those of the bytes alone, at the published speed: no
latency, no protocol, no other traffic.
"""

import dataclasses

GIGA = 10**9


@dataclasses.dataclass(frozen=True)
class Links:
    """The links of one kind of accelerator.

    Attributes:
      accelerator: what it is.
      domain: how many accelerators the fast link joins.
      within: bytes per second that one of them sends within its domain, while receiving as many.
      between: the same from one domain to another.
      source: where the two were published, and what was made of the figures.
    """

    accelerator: str
    domain: int
    within: float
    between: float
    source: str

    def sum_seconds(self, size: int, devices: int, *, stride: int = 1) -> float:
        """Seconds in which devices add up an array that each has, so that each has the sum.

        Within a domain on a ring: each of n sends (n - 1) / n of the bytes while the parts are
        added up, and as many while the sums are handed round. Over several domains each device
        adds its part of the domain's sum to the same part of the other domains' in between.

        Args:
          size: bytes of the array.
          devices: how many add up, in full domains if they are in several.
          stride: how far they are apart: every so many of a domain takes part.
        """
        local = min(devices, max(self.domain // stride, 1))
        domains = devices // local
        return (
            2 * (local - 1) / local * size / self.within
            + 2 * (domains - 1) / domains * size / local / self.between
        )


# By the name that the command line takes.
LINKS = {
    "h200": Links(
        accelerator="H200 GPU, nodes of 8",
        domain=8,
        within=450 * GIGA,
        between=50 * GIGA,
        source="NVLink 4: 900 GB/s for each GPU, both directions together (NVIDIA H200 data "
        "sheet); NDR InfiniBand: one port of 400 Gb/s for each GPU (NVIDIA DGX H200 user guide)",
    ),
    "v5p": Links(
        accelerator="TPU v5p, pods of 8,960",
        domain=8960,
        within=600 * GIGA,
        between=50 / 8 * GIGA,
        source="inter-chip interconnect: 1,200 GB/s for each chip, both directions together; data "
        "center network: 50 Gb/s for each chip (cloud.google.com/tpu/docs/v5p)",
    ),
}
