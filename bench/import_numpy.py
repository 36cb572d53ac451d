"""The published LZR2 loader's logic in numpy, on one file: record by record, zlib, codebook, (code + mean) * scale in fp32,
overlay by fancy indexing, cast to fp16. Weights are dropped as soon as they are decoded: nothing is stored, nothing checked.
Usage: python bench/import_numpy.py FILE.lzr2 [--digest]   (needs numpy). Prints one JSON line."""

import hashlib
import itertools
import json
import resource
import struct
import sys
import time
import zlib

import numpy as np

CODEBOOKS = {}


def codebook(dp):
    if dp not in CODEBOOKS:
        CODEBOOKS[dp] = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=dp)), dtype=np.float32)
    return CODEBOOKS[dp]


def u32(file):
    return struct.unpack("<I", file.read(4))[0]


def records(file):
    if file.read(4) != b"LZR2":
        raise ValueError("Invalid Signature")
    while True:
        head = file.read(4)
        if not head:
            return
        key = file.read(struct.unpack("<I", head)[0]).decode()
        shape = [u32(file) for _ in range(u32(file))]
        if file.read(1) != b"\x01":
            continue
        rows = shape[0]
        columns = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        dp = u32(file)
        file.read(rows * dp * 4)
        mean = np.frombuffer(file.read(rows * 4), dtype=np.float32)
        scale = np.frombuffer(file.read(rows * 4), dtype=np.float32)
        indices = np.frombuffer(zlib.decompress(file.read(u32(file))), dtype=np.uint16)
        blocks = indices.size // rows
        code = np.zeros((rows, columns), dtype=np.float32)
        if blocks:
            decoded = codebook(dp)[indices.reshape(rows, blocks)].reshape(rows, blocks * dp)
            width = min(columns, blocks * dp)
            code[:, :width] = decoded[:, :width]
        weight = (code + mean[:, None]) * scale[:, None]
        count = u32(file)
        place = "<u2" if max(rows, blocks) * dp < 65536 else "<u4"
        row = np.dtype([("row", place), ("column", place), ("value", "<f4")])
        overlay = np.frombuffer(file.read(count * row.itemsize), dtype=row)
        inside = (overlay["row"] < rows) & (overlay["column"] < columns)
        if not inside.all():
            overlay = overlay[inside]
        weight[overlay["row"], overlay["column"]] = overlay["value"]
        yield key, weight.astype(np.float16).reshape(shape)


def main():
    path, digest = sys.argv[1], "--digest" in sys.argv
    started = time.perf_counter()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    digests, weights, count = {}, 0, 0
    with open(path, "rb") as file:
        for key, weight in records(file):
            weights += weight.size
            count += 1
            if digest:
                digests[key] = hashlib.sha256(weight.tobytes()).hexdigest()
        size = file.tell()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = {"records": count, "weights": weights, "bytes": size, "seconds": round(seconds, 2)}
    line["rssGrowthBytes"] = (peak - base) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF)
    line["processorSeconds"] = round(used.ru_utime + used.ru_stime, 2)
    if digest:
        line["digests"] = digests
    print(json.dumps(line))


main()
