"""Reading TFRecord files, which here tensorboardX and a few bytes of our own write."""

import concurrent.futures
import dataclasses
import os
import pickle
import struct

import numpy as np
import pytest
from tensorboardX.record_writer import RecordWriter

from jaxcnn.data import tfrecord
from jaxcnn.data.tfrecord import TFRecordFiles, masked_crc32c
from jaxcnn.errors import UserError


@dataclasses.dataclass(frozen=True)
class Instruction:
    filename: str
    skip: int
    take: int
    examples_in_shard: int


def write(path, records):
    writer = RecordWriter(os.fspath(path))
    for record in records:
        writer.write(record)
    writer.close()


def frame(data):
    length = struct.pack("<Q", len(data))
    return (
        length
        + struct.pack("<I", masked_crc32c(length))
        + data
        + struct.pack("<I", masked_crc32c(data))
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path):
    """Two files of three and of two records, one of them empty; and what they hold."""
    (tmp_path / "data").mkdir()
    records = [[b"first", b"", b"third" * 1000], [bytes(range(256)), b"last"]]
    paths = [str(tmp_path / "data" / name) for name in ("a", "b")]
    for path, each in zip(paths, records, strict=True):
        write(path, each)
    return paths, records


def whole(paths, records):
    return [
        Instruction(path, 0, len(each), len(each))
        for path, each in zip(paths, records, strict=True)
    ]


def test_checksum_is_the_published_one():
    def unmask(masked):
        rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
        return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF

    assert unmask(masked_crc32c(b"123456789")) == 0xE3069283  # RFC 3720, B.4, and the check value
    assert unmask(masked_crc32c(bytes(32))) == 0x8A9136AA


def test_framing_is_tensorboards(files):
    paths, records = files
    with open(paths[0], "rb") as file:
        assert file.read() == b"".join(map(frame, records[0]))


def test_reads_every_record_in_the_files_order(files):
    paths, records = files
    reader = TFRecordFiles(whole(paths, records))
    assert list(reader) == records[0] + records[1]
    assert len(reader) == 5
    with pytest.raises(IndexError):
        reader[5]


def test_reads_slices(files):
    paths, records = files
    reader = TFRecordFiles([Instruction(paths[0], 1, 2, 3), Instruction(paths[1], 0, 1, 2)])
    assert list(reader) == records[0][1:] + records[1][:1]


def test_threads_and_pickles_read_the_same(files):
    paths, records = files
    reader = pickle.loads(pickle.dumps(TFRecordFiles(whole(paths, records))))
    order = np.random.default_rng(0).integers(0, 5, 2000).tolist()
    expected = records[0] + records[1]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(reader.__getitem__, order)) == [expected[each] for each in order]


def test_index_is_made_once_in_the_cache_and_again_for_a_changed_file(files, cache, monkeypatch):
    paths, records = files
    made = []
    index = tfrecord._index
    monkeypatch.setattr(tfrecord, "_index", lambda *args: made.append(args[0]) or index(*args))
    TFRecordFiles(whole(paths, records))
    assert sorted(made) == paths
    assert len(list((cache / "tfrecord-index").iterdir())) == 2
    assert sorted(os.listdir(os.path.dirname(paths[0]))) == ["a", "b"]

    TFRecordFiles(whole(paths, records))
    assert len(made) == 2

    records[1].append(b"one more")
    write(paths[1], records[1])
    assert list(TFRecordFiles(whole(paths, records))) == records[0] + records[1]
    assert made[2:] == [paths[1]]


def test_a_spoilt_index_is_made_again(files, cache):
    paths, records = files
    TFRecordFiles(whole(paths, records))
    for path in (cache / "tfrecord-index").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert list(TFRecordFiles(whole(paths, records))) == records[0] + records[1]


@pytest.mark.parametrize("cut", [1, 5, 20, 16 + 4999])
def test_a_cut_file_is_named(files, cut):
    paths, records = files
    os.truncate(paths[0], os.path.getsize(paths[0]) - cut)
    with pytest.raises(UserError, match=r"data/a is damaged or cut short: .* at byte \d+"):
        TFRecordFiles(whole(paths, records))


def test_a_changed_length_is_noticed(files):
    paths, records = files
    with open(paths[0], "r+b") as file:
        file.write(b"\x06")
    with pytest.raises(UserError, match=r"data/a is damaged or cut short: .* at byte 0;"):
        TFRecordFiles(whole(paths, records))


def test_a_file_that_shrinks_while_it_is_read_is_named(files):
    paths, records = files
    reader = TFRecordFiles(whole(paths, records))
    os.truncate(paths[1], 30)
    with pytest.raises(UserError, match="data/b is damaged or cut short"):
        reader[4]
    os.remove(paths[1])
    with pytest.raises(UserError, match="data/b cannot be read"):
        reader[4]


def test_another_number_of_records_than_described(files):
    paths, _ = files
    with pytest.raises(UserError, match=r"data/a holds 3 records where .* says 4"):
        TFRecordFiles([Instruction(paths[0], 0, 4, 4)])


def test_a_missing_file_and_an_unwritable_cache(files, tmp_path, monkeypatch):
    paths, records = files
    with pytest.raises(UserError, match="nowhere cannot be read"):
        TFRecordFiles([Instruction(str(tmp_path / "nowhere"), 0, 1, 1)])
    monkeypatch.setenv("JAXCNN_CACHE", paths[0])
    with pytest.raises(UserError, match=r"the cache folder .* cannot be made .* JAXCNN_CACHE"):
        TFRecordFiles(whole(paths, records))
