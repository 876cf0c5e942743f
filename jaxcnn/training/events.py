"""What TensorBoard shows of a run: a file of events for each of its starts.

tensorboardX's own writer is a thread that loses its queue in a kill and hangs on a full disk, so
that only its protocol buffers are taken.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX.proto.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    STATUS_SUCCESS,
    Experiment,
    HParamInfo,
    MetricInfo,
    MetricName,
)
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.record_writer import masked_crc32c

from jaxcnn.files import writing
from jaxcnn.training.growing_file import GrowingFile


class Events:
    """A new file of events in a run's folder, open for adding.

    Args:
      workdir: the folder of the run; the file is made in ``tensorboard`` in it.
      after: the last step of which the events of earlier files count; None: all of them do.
      suffix: ends the file's name; an earlier file of that ending is removed. ``''``: none is.

    Raises:
      UserError: it cannot be written (every method).
    """

    def __init__(self, workdir: Path, *, after: int | None = None, suffix: str = "") -> None:
        folder = workdir / "tensorboard"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.glob(f"*.{suffix}") if suffix else ():
                file.unlink(missing_ok=True)
        # TensorBoard reads its files by name: this is the last, though the clock was set back.
        earlier = (p.name.split(".")[3] for p in folder.glob("events.out.tfevents.*"))
        now = max([int(time.time()), *(int(stamp) + 1 for stamp in earlier if stamp.isdecimal())])
        name = f"events.out.tfevents.{now}.{socket.gethostname()}.{os.getpid()}"
        if suffix:
            name += f".{suffix}"
        self._file = GrowingFile(folder / name)
        self._append(Event(file_version="brain.Event:2"))
        if after is not None:
            # TensorBoard forgets what earlier files hold from this step on.
            start = SessionLog(status=SessionLog.START)
            self._append(Event(step=after + 1, session_log=start))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers by their tags, such as ``'eval/loss'``."""
        self._add(step, [Summary.Value(tag=t, simple_value=float(v)) for t, v in values.items()])

    def picture(self, tag: str, step: int, png: bytes) -> None:
        """Adds a picture."""
        width, height = struct.unpack(">II", png[16:24])  # where a PNG has them
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="images"))
        self._add(step, [Summary.Value(tag=tag, image=image, metadata=metadata)])

    def hyper_parameters(self, values: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Adds what the table and the graph of hyper-parameters show of a finished run.

        Args:
          values: of the configuration, by dotted name; one that is neither a number, a bool nor a
            string is shown as a string.
          metrics: the tags of the numbers that are shown beside them.
        """
        start, infos = SessionStartInfo(start_time_secs=time.time()), []
        for name, value in values.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value, kind = value, DATA_TYPE_BOOL
            elif isinstance(value, int | float):
                start.hparams[name].number_value, kind = value, DATA_TYPE_FLOAT64
            else:
                start.hparams[name].string_value, kind = str(value), DATA_TYPE_STRING
            infos.append(HParamInfo(name=name, type=kind))
        shown = [MetricInfo(name=MetricName(tag=tag)) for tag in metrics]
        end = SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=time.time())
        for tag, content in (
            ("experiment", {"experiment": Experiment(hparam_infos=infos, metric_infos=shown)}),
            ("session_start_info", {"session_start_info": start}),
            ("session_end_info", {"session_end_info": end}),
        ):
            data = HParamsPluginData(version=0, **content).SerializeToString()
            plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data)
            metadata = SummaryMetadata(plugin_data=plugin)
            self._add(0, [Summary.Value(tag=f"_hparams_/{tag}", metadata=metadata)])

    def close(self) -> None:
        """Makes the file last, and closes it."""
        self._file.close()

    def _add(self, step: int, values: list[Summary.Value]) -> None:
        self._append(Event(step=step, summary=Summary(value=values)))

    def _append(self, event: Event) -> None:
        event.wall_time = time.time()
        self._file.append(_framed(event))


def _framed(event: Event) -> bytes:
    """An event as a TFRecord: length, its checksum, the data, their checksum."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]
