"""LZR2 in numpy, written from the format's description alone (docs/formats/lzr2.md, "Decoding"): shares nothing with src/."""

import dataclasses
import itertools
import struct
import zlib

import numpy as np


@dataclasses.dataclass
class Record:
    key: str
    shape: tuple[int, ...]
    tf: int = 1
    dp: int = 1
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None
    # [C, nBlocks] u16; None: zlen is 0.
    indices: np.ndarray | None = None
    # (row, column, value)
    overlay: list[tuple[int, int, float]] = dataclasses.field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def columns(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64))

    @property
    def blocks(self) -> int:
        return 0 if self.indices is None else self.indices.shape[1]

    @property
    def wide(self) -> bool:
        return max(self.rows, self.blocks) * self.dp >= 65536


def codebook(dp: int) -> np.ndarray:
    """[3^dp, dp]: product order, first digit most significant."""
    return np.array(list(itertools.product((-1, 0, 1), repeat=dp)), dtype=np.float32)


def encode_record(record: Record) -> bytes:
    key = record.key.encode()
    out = struct.pack(f"<I{len(key)}sI{len(record.shape)}I", len(key), key, len(record.shape), *record.shape)
    out += struct.pack("<B", record.tf)
    if record.tf != 1:
        return out
    # "a" is carried and not used: anything but zeros shows a reader that uses it.
    out += struct.pack("<I", record.dp) + np.full(record.rows * record.dp, 7.5, "<f4").tobytes()
    out += record.mean.astype("<f4").tobytes() + record.scale.astype("<f4").tobytes()
    packed = b"" if record.indices is None else zlib.compress(record.indices.astype("<u2").tobytes(), 9)
    out += struct.pack("<I", len(packed)) + packed + struct.pack("<I", len(record.overlay))
    for row, column, value in record.overlay:
        out += struct.pack("<IIf" if record.wide else "<HHf", row, column, value)
    return out


def encode_artifact(records: list[Record]) -> bytes:
    return b"LZR2" + b"".join(map(encode_record, records))


def decode_record(record: Record) -> tuple[np.ndarray, int]:
    """fp16 in the record's shape, and how many overlay rows lie outside of it."""
    rows, columns = record.rows, record.columns
    codes = np.zeros((rows, columns), np.float32)
    if record.indices is not None:
        lattice = codebook(record.dp)[record.indices].reshape(rows, -1)
        kept = min(columns, lattice.shape[1])
        codes[:, :kept] = lattice[:, :kept]
    weight = (codes + record.mean.astype(np.float32)[:, None]) * record.scale.astype(np.float32)[:, None]
    skipped = 0
    for row, column, value in record.overlay:
        if row < rows and column < columns:
            weight[row, column] = np.float32(value)
        else:
            skipped += 1
    return weight.astype(np.float16).reshape(record.shape), skipped


def decode_artifact(data: bytes) -> list[tuple[Record, np.ndarray | None, int]]:
    """Each record with its weights (None: no payload) and its number of overlay rows out of range."""
    assert data[:4] == b"LZR2"
    at = 4

    def take(layout: str) -> tuple:
        nonlocal at
        values = struct.unpack_from("<" + layout, data, at)
        at += struct.calcsize("<" + layout)
        return values

    def array(dtype: str, count: int) -> np.ndarray:
        nonlocal at
        values = np.frombuffer(data, dtype, count, at)
        at += values.nbytes
        return values

    decoded = []
    while at < len(data):
        (length,) = take("I")
        key = take(f"{length}s")[0].decode()
        (ndim,) = take("I")
        record = Record(key, take(f"{ndim}I"))
        (record.tf,) = take("B")
        if record.tf != 1:
            decoded.append((record, None, 0))
            continue
        (record.dp,) = take("I")
        array("<f4", record.rows * record.dp)
        record.mean, record.scale = array("<f4", record.rows), array("<f4", record.rows)
        (zlen,) = take("I")
        if zlen:
            record.indices = np.frombuffer(zlib.decompress(take(f"{zlen}s")[0]), "<u2").reshape(record.rows, -1)
        (count,) = take("I")
        record.overlay = [take("IIf" if record.wide else "HHf") for _ in range(count)]
        decoded.append((record, *decode_record(record)))
    return decoded
