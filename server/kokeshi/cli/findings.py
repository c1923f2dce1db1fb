"""What `kokeshi doctor` says of each thing it looked at."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal

Verdict = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing. A note is worth knowing, a problem keeps something from working."""

    verdict: Verdict
    subject: str
    told: str
    remedy: str = ""


# Distributions that decide what can run, in the order of the report.
DISTRIBUTIONS: Final = (
    "kokeshi",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "faiss-cpu",
    "faiss-gpu",
    "faiss-gpu-cuvs",
    "apsw",
    "grpcio",
    "protobuf",
    "tritonclient",
    "numpy",
    "pillow",
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "tensorrt",
)
# Each set installs the same import package: the one that came last wins, in silence.
_RIVALS: Final = (
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs"),
)
_PROTOBUF_LIMIT: Final = 7  # tritonclient's generated code does not import from there on


def installed() -> dict[str, str]:
    """Versions of those of `DISTRIBUTIONS` that are installed."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def of_versions(versions: dict[str, str]) -> Iterator[Finding]:
    """Which distributions clash, and which are absent."""
    yield from (_of_rivals(rivals, versions) for rivals in _RIVALS)
    protobuf = versions.get("protobuf", "")
    if "tritonclient" in versions and protobuf:
        if int(protobuf.partition(".")[0]) >= _PROTOBUF_LIMIT:
            told = f"{protobuf} is installed; tritonclient needs one below {_PROTOBUF_LIMIT}"
            yield Finding("problem", "protobuf", told, f"pip install 'protobuf<{_PROTOBUF_LIMIT}'")
        else:
            yield Finding("ok", "protobuf", f"{protobuf}, which tritonclient takes")
    if {"torch", "onnx", "timm"} <= versions.keys():
        yield Finding("ok", "export", f"torch {versions['torch']}")
    else:
        told = "not installed: this environment serves, but cannot export"
        yield Finding("note", "export", told, "pip install 'kokeshi[export,cpu]'")


def _of_rivals(rivals: tuple[str, ...], versions: dict[str, str]) -> Finding:
    present = [name for name in rivals if name in versions]
    told = ", ".join(f"{name} {versions[name]}" for name in present)
    subject = rivals[0].partition("-")[0]
    match len(present):
        case 0:
            return Finding("problem", subject, "not installed", "pip install 'kokeshi[cpu]'")
        case 1:
            return Finding("ok", subject, told)
    remedy = f"pip uninstall {' '.join(present)}; pip install 'kokeshi[cpu]' or 'kokeshi[gpu]'"
    return Finding("problem", subject, f"{told} overwrite each other", remedy)
