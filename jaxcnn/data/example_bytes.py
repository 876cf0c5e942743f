"""The image and the label of a serialized ``tf.train.Example``."""

import re

from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

_LARGE = 2**17  # bytes from which on copying them twice takes longer than looking for them

# The fields that lead to the bytes of an image that comes first, and how many there are of these.
_NUMBER = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
_IMAGE_FIRST = re.compile(
    rb"\n%(n)s\n%(n)s\n\x05image\x12%(n)s\n%(n)s\n(%(n)s)" % {b"n": _NUMBER}, re.DOTALL
)


def image_and_label_of(record: bytes) -> tuple[bytes, int]:
    """Its one ``image`` and its one ``label``, which need not be that of a class.

    Protobuf copies the bytes of an image twice. A large one that comes first is cut out instead:
    of 256 x 341 raw pixels, a record is then read in 30 microseconds, not 35.

    Raises:
      ValueError, google.protobuf.message.DecodeError: it has another form.
    """
    match = _IMAGE_FIRST.match(record) if len(record) > _LARGE else None
    if match is not None:
        start = match.end()
        end = start + sum((byte & 127) << 7 * place for place, byte in enumerate(match[1]))
        if end <= len(record):
            fields = tf_feature_pb2.Features.FromString(record[end:]).feature
            if "image" not in fields:
                (label,) = fields["label"].int64_list.value
                return record[start:end], label
    fields = tf_example_pb2.Example.FromString(record).features.feature
    (image,) = fields["image"].bytes_list.value
    (label,) = fields["label"].int64_list.value
    return image, label
