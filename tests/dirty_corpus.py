# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A corpus with planted damage, in tar, parquet, folder and table form, and what a reader must count in each."""

import csv
import io
import json
import random
import struct
import tarfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

NOUNS = "cat dog red blue bird tree house car boat moon star fish cup hat".split()


@dataclass
class Planted:
    """One pair as it lies in a corpus: bytes, or None for a member that is missing; and what must be counted.

    Args:
        kind: the mutation.
        cause: what a reader must say; None if the pair is good or to be repaired.
    """

    kind: str
    image: bytes | None
    caption: bytes | None
    cause: str | None
    suffix: str = "jpg"


def picture(rng: random.Random, size=(40, 32), mode="RGB") -> Image.Image:
    noise = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encode(image: Image.Image, form: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG's header alone says how large it unpacks."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _sixteen_bit(rng: random.Random) -> bytes:
    values = np.random.default_rng(rng.getrandbits(32)).integers(0, 65536, (32, 40), dtype=np.uint16)
    return encode(Image.fromarray(values), "PNG")


def _gif(rng: random.Random) -> bytes:
    frames = [picture(rng) for _ in range(3)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def _corrupt_png(rng: random.Random) -> bytes:
    data = bytearray(encode(picture(rng), "PNG"))
    start = data.index(b"IDAT") + 40
    data[start : start + 60] = bytes(60)
    return bytes(data)


def _palette(rng: random.Random) -> bytes:
    return encode(picture(rng).quantize(16), "PNG", transparency=3)


# Pictures that are repaired: (suffix, how to make one).
REPAIRED_IMAGES = {
    "CMYK JPEG": ("jpg", lambda rng: encode(picture(rng, mode="CMYK"))),
    "gray JPEG": ("jpg", lambda rng: encode(picture(rng, mode="L"))),
    "16-bit PNG": ("png", _sixteen_bit),
    "palette with transparency": ("png", _palette),
    "gray with alpha": ("png", lambda rng: encode(picture(rng, mode="LA"), "PNG")),
    "RGBA PNG": ("png", lambda rng: encode(picture(rng, mode="RGBA"), "PNG")),
    "one bit": ("png", lambda rng: encode(picture(rng, mode="1"), "PNG")),
    "animated GIF": ("gif", _gif),
    "EXIF rotated": ("jpg", lambda rng: encode(picture(rng), exif=_exif(6))),
    "WebP": ("webp", lambda rng: encode(picture(rng), "WEBP")),
    "16-bit TIFF": ("tif", lambda rng: encode(Image.fromarray(np.full((32, 40), 40_000, np.uint16)), "TIFF")),
    "PNG named jpg": ("jpg", lambda rng: encode(picture(rng), "PNG")),
    "suffix in capitals": ("JPG", lambda rng: encode(picture(rng))),
}
# Pictures that are skipped: (suffix, cause, how to make one).
BROKEN_IMAGES = {
    "zero bytes": ("jpg", "zero-byte image", lambda rng: b""),
    "random bytes": ("jpg", "not an image", lambda rng: rng.randbytes(500)),
    "web page": ("jpg", "not an image", lambda rng: b"<!DOCTYPE html><html>404 Not Found</html>"),
    "start of a JPEG only": ("jpg", "not an image", lambda rng: encode(picture(rng))[:3]),
    "truncated JPEG": ("jpg", "truncated image", lambda rng: encode(picture(rng, (400, 300)))[:20_000]),
    "truncated PNG": ("png", "truncated image", lambda rng: encode(picture(rng, (200, 150)), "PNG")[:40_000]),
    "truncated GIF": ("gif", "truncated image", lambda rng: encode(picture(rng, (90, 80)), "GIF")[:3000]),
    "corrupt PNG": ("png", "damaged image", _corrupt_png),
    "decompression bomb": ("png", "decompression bomb", lambda rng: png_of_size(60_000, 60_000)),
    "smaller bomb": ("png", "decompression bomb", lambda rng: png_of_size(10_000, 10_000)),
    "strip": ("png", "extreme aspect ratio", lambda rng: encode(picture(rng, (2, 900)), "PNG")),
}
REPAIRED_CAPTIONS = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "other scripts": lambda text: f"{text} 猫 🐈 кот".encode(),
    "tabs and lines": lambda text: f"  {text}\n\t and more \r\n".encode(),
    "long": lambda text: (text + " and so on" * 500).encode(),
}
BROKEN_CAPTIONS = {
    "empty": ("empty caption", lambda text: b""),
    "blank": ("empty caption", lambda text: b" \n\t "),
    "Latin-1": ("caption not UTF-8", lambda text: f"{text} caf\u00e9".encode("latin-1")),
    "random bytes in a caption": ("caption not UTF-8", lambda text: text.encode() + b" \xff\xfe\x80"),
    "enormous": ("enormous caption", lambda text: (text + " very").encode() * 3000),
}


def plan(seed: int, each: int, good: int) -> list[Planted]:
    """`each` pairs of every kind and `good` plain ones, with captions of their own, shuffled."""
    rng = random.Random(seed)
    pairs = []

    def text() -> str:
        return f"a {rng.choice(NOUNS)} and a {rng.choice(NOUNS)} number {len(pairs)}"

    def plain() -> bytes:
        return encode(picture(rng))

    for _ in range(good):
        pairs.append(Planted("plain", plain(), text().encode(), None))
    for _ in range(each):
        for kind, (suffix, make) in REPAIRED_IMAGES.items():
            pairs.append(Planted(kind, make(rng), text().encode(), None, suffix))
        for kind, (suffix, cause, make) in BROKEN_IMAGES.items():
            pairs.append(Planted(kind, make(rng), text().encode(), cause, suffix))
        for kind, change in REPAIRED_CAPTIONS.items():
            pairs.append(Planted(kind, plain(), change(text()), None))
        for kind, (cause, change) in BROKEN_CAPTIONS.items():
            pairs.append(Planted(kind, plain(), change(text()), cause))
        pairs.append(Planted("no image", None, text().encode(), "missing image"))
        pairs.append(Planted("no caption", plain(), None, "missing caption"))
    rng.shuffle(pairs)
    return pairs


def expected(pairs: list[Planted]) -> tuple[int, Counter]:
    """How many pairs are good, and how many are bad by cause."""
    causes = Counter(pair.cause for pair in pairs if pair.cause)
    return len(pairs) - sum(causes.values()), causes


def add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_tar(pairs: list[Planted], path: Path) -> Path:
    """A shard in img2dataset's layout."""
    with tarfile.open(path, "w") as archive:
        for number, pair in enumerate(pairs):
            key = f"{path.stem}{number:05d}"
            if pair.image is not None:
                add_member(archive, f"{key}.{pair.suffix}", pair.image)
            if pair.caption is not None:
                add_member(archive, f"{key}.txt", pair.caption)
            add_member(archive, f"{key}.json", json.dumps({"key": key, "status": "success"}).encode())
    return path


def write_tars(pairs: list[Planted], folder: Path, num_shards: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [write_tar(pairs[number::num_shards], folder / f"{number:03d}.tar") for number in range(num_shards)]


def damaged_tars(good: list[Planted], folder: Path) -> tuple[list[Path], int, Counter]:
    """Shards that are damaged themselves, how many good pairs they still hold, and what must be counted."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = write_tar(good, folder / "whole.tar")
    content = whole.read_bytes()
    with tarfile.open(whole) as archive:
        members = archive.getmembers()
    whole.unlink()
    # Each pair has three members; the pairs before the damage are good.
    third_image, fourth_text = members[6], members[10]
    flipped = bytearray(content)
    flipped[third_image.offset : third_image.offset + 512] = b"\xa5" * 512
    shards = {
        "cut_in_an_image": (content[: third_image.offset_data + 100], 2, "shard cut off"),
        "cut_in_a_header": (content[: third_image.offset + 200], 2, "shard cut off"),
        "cut_in_a_caption": (content[: fourth_text.offset_data + 5], 3, "shard cut off"),
        "without_end": (content[: members[-1].offset_data + 512], len(good), "shard cut off"),
        "header_overwritten": (bytes(flipped), 2, "unreadable shard"),
        "empty": (b"", 0, "unreadable shard"),
        "no_tar": (b"<html>404</html>" * 100, 0, "unreadable shard"),
    }
    for name, (data, _, _) in shards.items():
        (folder / f"{name}.tar").write_bytes(data)
    twice = folder / "twice.tar"
    with tarfile.open(twice, "w") as archive:
        for name in ("a.jpg", "a.txt", "a.txt", "a.json"):
            add_member(archive, name, good[0].image if name == "a.jpg" else b"a caption")
    paths = [*(folder / f"{name}.tar" for name in shards), twice]
    causes = Counter(cause for _, _, cause in shards.values()) + Counter({"member twice": 1})
    return paths, sum(num_good for _, num_good, _ in shards.values()) + 1, causes


def write_parquet(pairs: list[Planted], path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [None if pair.image is None else {"bytes": pair.image, "path": None} for pair in pairs]
    # Strings as a careless writer stores them: their bytes are not checked.
    captions = pa.array([pair.caption for pair in pairs], pa.binary()).view(pa.string())
    struct_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pa.array(images, struct_type), "caption": captions}), path, row_group_size=50)
    return path


def write_folder(pairs: list[Planted], folder: Path) -> Path:
    for number, pair in enumerate(pairs):
        place = folder / f"{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        if pair.image is not None:
            (place / f"{number:05d}.{pair.suffix}").write_bytes(pair.image)
        if pair.caption is not None:
            (place / f"{number:05d}.txt").write_bytes(pair.caption)
    return folder


def write_images(pairs: list[Planted], folder: Path) -> list[str]:
    """The pictures as files; the names of all, those of missing ones too."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = [f"images/{number:05d}.{pair.suffix}" for number, pair in enumerate(pairs)]
    for name, pair in zip(names, pairs, strict=True):
        if pair.image is not None:
            (folder / name).write_bytes(pair.image)
    return names


def write_table(pairs: list[Planted], path: Path, columns=("filepath", "title"), separator="\t") -> Path:
    """open_clip's table: paths and captions. A caption that is missing is an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator="\n")
    writer.writerow(columns)
    for name, pair in zip(write_images(pairs, path.parent), pairs, strict=True):
        writer.writerow([name, (pair.caption or b"").decode("utf-8", errors="surrogateescape")])
    path.write_bytes(file.getvalue().encode("utf-8", errors="surrogateescape"))
    return path


def write_json_lines(pairs: list[Planted], path: Path, columns=("file_name", "text")) -> Path:
    lines = []
    for name, pair in zip(write_images(pairs, path.parent), pairs, strict=True):
        fields = {columns[0]: name}
        if pair.caption is not None:
            fields[columns[1]] = pair.caption.decode("utf-8", errors="surrogateescape")
        lines.append(json.dumps(fields, ensure_ascii=False).encode("utf-8", errors="surrogateescape"))
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path
