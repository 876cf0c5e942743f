"""What training minimises, as functions of arrays: they know no network and no data."""

from jaxcnn.losses.classification import (
    cross_entropy,
    cross_entropy_of_log_probabilities,
    cross_entropy_of_probabilities,
    maximum_a_posteriori,
    smoothed,
)
from jaxcnn.losses.perceptual import (
    Perception,
    check_range,
    content_loss,
    feature_distance,
    gram_matrix,
    range_penalty,
    style_loss,
)

__all__ = [
    "Perception",
    "check_range",
    "content_loss",
    "cross_entropy",
    "cross_entropy_of_log_probabilities",
    "cross_entropy_of_probabilities",
    "feature_distance",
    "gram_matrix",
    "maximum_a_posteriori",
    "range_penalty",
    "smoothed",
    "style_loss",
]
