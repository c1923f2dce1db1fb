"""What `kokeshi doctor` finds by trying: providers, models, data folder, ports."""

import asyncio
import ctypes
import socket
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from kokeshi.cli.findings import Finding
from kokeshi.errors import KokeshiError, SetupError
from kokeshi.settings import Settings

if TYPE_CHECKING:
    from kokeshi.engines.protocol import ModelStatus

# The smallest graph: y = -x, one float. Whether a provider's libraries are there shows only when a
# session asks for it; without them ONNX Runtime falls back to the CPU.
_GRAPH: Final = bytes.fromhex(
    "080812003a320a0b0a017812017922034e65671201675a0f0a0178120a0a08080112040a02080162"
    "0f0a0179120a0a08080112040a02080142040a00100d"
)
_CPU: Final = "CPUExecutionProvider"
_TENSORRT: Final = "TensorrtExecutionProvider"
_TENSORRT_LIBRARY: Final = "libnvinfer.so.10"  # what ONNX Runtime links
_TRIED: Final = (_CPU, "CUDAExecutionProvider", _TENSORRT, "OpenVINOExecutionProvider")
_SILENT: Final = 4  # ONNX Runtime's log level that only a fatal error passes
_TIMEOUT_S: Final = 2.0


def of_providers() -> Iterator[Finding]:
    """Which execution providers really load."""
    try:
        import onnxruntime
    except ImportError as error:
        told = f"ONNX Runtime cannot be imported: {error}"
        yield Finding("problem", "engine embedded", told, "pip install 'kokeshi[cpu]'")
        return
    onnxruntime.set_default_logger_severity(_SILENT)
    offered = onnxruntime.get_available_providers()
    yield from (_of_provider(provider) for provider in _TRIED if provider in offered)


def _of_provider(provider: str) -> Finding:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    if provider == _TENSORRT and not _loads(_TENSORRT_LIBRARY):
        told = f"{_TENSORRT_LIBRARY} cannot be loaded"
        return Finding("note", provider, told, "pip install 'tensorrt<11', if you want TensorRT")
    try:
        session = onnxruntime.InferenceSession(_GRAPH, options, providers=[provider])
    except Exception as error:  # whatever a provider raises when its libraries fail
        first_line = str(error).partition("\n")[0]
        return Finding("problem", provider, f"does not load: {first_line}", _REMEDY)
    if session.get_providers()[0] != provider:
        return Finding(
            "problem", provider, "does not load; the CPU would run in its place", _REMEDY
        )
    return Finding("ok", provider, "loads")


_REMEDY: Final = "pip install 'kokeshi[gpu]', and check the driver with nvidia-smi"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def of_plugins() -> Finding:
    """Whether every installed plugin loads."""
    from kokeshi.registry import discover

    try:
        registry = discover()
    except SetupError as error:
        return Finding("problem", "plugins", str(error), "mend or uninstall that distribution")
    told = f"{len(registry.methods)} methods, {len(registry.checkpoints)} checkpoints"
    return Finding("ok", "plugins", told)


def of_models(settings: Settings) -> Iterator[Finding]:
    """Whether every model of the repository loads and is the graph that was verified."""
    try:
        path, troubles, statuses = asyncio.run(_loaded(settings))
    except (KokeshiError, ImportError) as error:
        remedy = "name it with --repository, or fill it with `kokeshi export`"
        yield Finding("problem", "repository", str(error), remedy)
        return
    for address, why in troubles.items():
        yield Finding("problem", address, why, "start it, or name another with --engine")
    if troubles and not statuses:
        return
    yield Finding("ok", f"engine {settings.engine}", f"tensors reach the models by: {path}")
    if not statuses:
        told = f"{str(settings.repository)!r} holds no model"
        yield Finding("note", "repository", told, "fill it with `kokeshi export`")
    yield from (_of_model(status, settings) for status in statuses)


async def _loaded(
    settings: Settings,
) -> "tuple[str, Mapping[str, str], list[ModelStatus]]":
    """How tensors reach the models, which Triton servers do not answer, and the models."""
    from kokeshi.cli.engines import engine_of
    from kokeshi.engines.triton.remote import TritonEngine

    engine = engine_of(settings.model_copy(update={"allow_untrained": True}))
    try:
        await engine.start()
        troubles = engine.troubles() if isinstance(engine, TritonEngine) else {}
        return engine.path(), troubles, list(engine.models())
    finally:
        await engine.close()


def _of_model(status: "ModelStatus", settings: Settings) -> Finding:
    subject = f"model {status.name}"
    if not status.answers:
        return Finding("problem", subject, status.reason, "export it again")
    if status.reason:  # it answers, though not as configured
        return Finding("note", subject, status.reason, "")
    if status.card is None:
        told = f"version {status.version} loads; no card, so it answers tensors (KServe v2) alone"
        return Finding("ok", subject, told)
    told = f"version {status.version} loads; {', '.join(status.card.tasks)}"
    if status.card.checkpoint.trained or settings.allow_untrained:
        return Finding("ok", subject, told)
    return Finding(
        "note", subject, f"{told}; its weights are random, so it is not served", "--allow-untrained"
    )


def of_data(settings: Settings) -> Finding:
    """Whether collections can be written."""
    folder = settings.data
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return Finding("ok", "data", f"{str(folder)!r} can be written")
    except OSError as error:
        told = f"{str(folder)!r} cannot be written: {error.strerror}"
        return Finding("problem", "data", told, "name another with --data")


def of_database(settings: Settings) -> Iterator[Finding]:
    """Whether what the embedded store has written can be read."""
    from kokeshi.index.schema import CHECK_BYTES, DATABASE, SCHEMA_VERSION, sizes, version_of

    if settings.store != "embedded" or not (settings.data / DATABASE).exists():
        return
    try:
        version = version_of(settings.data / DATABASE)
        size_bytes = sum(sizes(settings.data))
        if version not in {None, SCHEMA_VERSION}:
            told = f"it has format {version}; a server brings it to {SCHEMA_VERSION} if it can"
            yield Finding("note", "database", told)
        elif size_bytes > CHECK_BYTES:
            told = f"not read: it has {size_bytes >> 20} MiB, and {CHECK_BYTES >> 20} are read here"
            yield Finding("note", "database", told, "kokeshi index verify")
        else:
            yield _of_survey(settings)
    except SetupError as error:
        yield Finding("problem", "database", str(error), _RESTORE)


_RESTORE: Final = "kokeshi index restore BACKUP --replace"


def _of_survey(settings: Settings) -> Finding:
    from kokeshi.index.verify import verify

    found = verify(settings.data)
    rows = sum(one.rows for one in found.collections)
    if found.is_sound:
        told = f"{rows} items of {len(found.collections)} collections are whole"
        return Finding("ok", "database", told)
    findings = [*found.findings, *(one for each in found.collections for one in each.findings)]
    findings += found.notes.findings if found.notes else ()
    return Finding(
        "problem",
        "database",
        findings[0],
        f"kokeshi index verify tells all; {_RESTORE}, if need be",
    )


def of_ports(settings: Settings) -> Iterator[Finding]:
    """Whether the doors can be opened, or a server of ours has opened them."""
    ours = _answers(settings.grpc)
    for door, address in (("http", settings.http), ("grpc", settings.grpc)):
        reason = _cannot_listen(address)
        if not reason:
            yield Finding("ok", door, f"{address} is free")
        elif ours:
            yield Finding("ok", door, f"{address} is taken; {ours} answers at {settings.grpc}")
        else:
            remedy = f"name another with --{door}, or end what listens there"
            yield Finding("problem", door, f"{address} cannot be listened on: {reason}", remedy)


def _cannot_listen(address: str) -> str:
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        with socket.create_server((bare, int(port)), family=family):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _answers(address: str) -> str:
    """The server that answers at an address; empty if none does."""
    from kokeshi.gateway.client import Client

    try:
        with Client(address, timeout_s=_TIMEOUT_S) as client:
            return f"kokeshi {client.info().version}"
    except KokeshiError:
        return ""


def report(settings: Settings) -> Iterator[Finding]:
    """Everything that is found by trying."""
    yield from of_providers()
    yield of_plugins()
    yield from of_models(settings)
    yield of_data(settings)
    yield from of_database(settings)
    yield from of_ports(settings)
