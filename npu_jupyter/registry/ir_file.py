"""Look into an OpenVINO IR without loading it: are its weights all there, and how precise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

from npu_jupyter.errors import InvalidModel

_PRECISIONS = {
    "i4": "int4",
    "u4": "int4",
    "nf4": "nf4",
    "i8": "int8",
    "u8": "int8",
    "f16": "fp16",
    "bf16": "bf16",
    "f32": "fp32",
}


def read_precision(xml: Path) -> str:
    """Name the type that most weights have; raise `InvalidModel` if the .bin is cut short."""
    weights = xml.with_suffix(".bin")
    if not weights.is_file():
        raise InvalidModel(f"{xml.name} is there but {weights.name} is missing. Fetch it again.")
    size = weights.stat().st_size
    share: Counter[str] = Counter()
    end = 0
    try:
        for _, layer in ET.iterparse(xml):  # noqa: S314 - expat itself stops entity bombs
            if layer.tag != "layer":
                continue
            data = layer.find("data")
            if layer.get("type") == "Const" and data is not None:
                length = int(data.get("size", 0))
                end = max(end, int(data.get("offset", 0)) + length)
                share[data.get("element_type", "")] += length
            layer.clear()
    except (ET.ParseError, ValueError) as error:
        raise InvalidModel(f"{xml.name} is damaged: {error}. Fetch it again.") from error
    if size < end:
        raise InvalidModel(
            f"{weights.name} is cut short: it has {size} bytes and {xml.name} needs {end}. "
            "Fetch it again."
        )
    if not share:
        raise InvalidModel(f"{xml.name} holds no weights. Fetch it again.")
    kind = share.most_common(1)[0][0]
    return _PRECISIONS.get(kind, kind)
