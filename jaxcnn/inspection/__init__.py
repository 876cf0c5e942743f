"""What people look at: curves, batches of images, summaries."""

from jaxcnn.inspection.extents import ReceptiveField
from jaxcnn.inspection.summary import Layer, Summary, summarize

__all__ = ["Layer", "ReceptiveField", "Summary", "summarize"]
