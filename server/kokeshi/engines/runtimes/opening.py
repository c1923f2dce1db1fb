"""Opens a graph on what its configuration asks for, or on the next best."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kokeshi.engines.config import ModelConfig
from kokeshi.engines.policy import instances
from kokeshi.engines.repository import graph_digest
from kokeshi.engines.runtimes.accelerators import CUDA, TENSORRT, Plan, Providers, plan
from kokeshi.engines.runtimes.bound import BoundRuntime, can_be_bound, pinned
from kokeshi.engines.runtimes.building import expected_s, remember, watched
from kokeshi.engines.runtimes.machine import this_machine
from kokeshi.engines.runtimes.openvino import open_openvino, run_every_size
from kokeshi.engines.runtimes.protocol import Progress, Runtime
from kokeshi.engines.runtimes.session import OnnxRuntime, open_session
from kokeshi.engines.runtimes.spread import SpreadRuntime


def open_runtime(
    graph: Path,
    config: ModelConfig,
    *,
    threads: int,
    cache_folder: Path | None = None,
    progress: Progress | None = None,
) -> Runtime:
    """Opens a graph; blocks, for minutes where a TensorRT engine is built.

    Where this machine lacks what is asked for, the graph runs on the next best, and `degraded` of
    the runtime says so.

    Args:
        graph: the ONNX file.
        config: of the model; accelerators, instance groups and parameters are obeyed.
        threads: cores that one run may use, where the configuration does not say.
        cache_folder: where TensorRT engines are kept; None: they are built at every start.
        progress: gets the fraction done, from any thread, where opening is slow.

    Raises:
        ArtefactError: an accelerator, parameter or value is unknown, or contradicts the model.
        Exception: whatever the runtime raises of a graph that it does not take.
    """
    found = plan(
        config,
        this_machine(),
        threads=threads,
        digest=lambda: graph_digest(graph),
        cache_folder=cache_folder,
    )
    if found.openvino:
        runtime = open_openvino(graph, found.openvino, instances(config), found.degraded)
        run_every_size(runtime, max(1, config.max_batch_size), progress)
        return runtime
    with _built(found, graph, cache_folder, progress):
        opened = [_on_onnx(graph, config, found, it, threads) for it in found.providers]
    return opened[0] if len(opened) == 1 else SpreadRuntime(opened)


def _on_onnx(
    graph: Path, config: ModelConfig, found: Plan, providers: Providers, threads: int
) -> Runtime:
    parameters = dict(config.parameters)
    session = open_session(graph, providers, threads=threads, parameters=parameters)
    got = session.get_providers()
    degraded = found.degraded
    if got[0] != (wanted := providers[0][0]):
        degraded = f"configured for {wanted}, which does not load: runs on {got[0]}"
    if CUDA in got and config.max_batch_size > 0 and can_be_bound(session):
        return BoundRuntime(session, pinned, instances(config), degraded)
    return OnnxRuntime(session, degraded)


@contextmanager
def _built(
    found: Plan, graph: Path, cache_folder: Path | None, progress: Progress | None
) -> Iterator[None]:
    """Watches over the building of engines, where there are any."""
    if not found.builds_engine:
        yield
        return
    for providers in found.providers:
        _make_folders(providers)
    digest, begun_s = graph_digest(graph), time.monotonic()
    with watched(progress, expected_s(graph, digest, cache_folder)):
        yield
    if cache_folder is not None:
        with suppress(OSError):  # the engine is there all the same
            remember(time.monotonic() - begun_s, digest, cache_folder)


def _make_folders(providers: Providers) -> None:
    """ONNX Runtime writes nothing into folders that are not there."""
    options = dict(providers)[TENSORRT]
    for name in ("trt_engine_cache_path", "trt_timing_cache_path"):
        if name in options:
            Path(options[name]).mkdir(parents=True, exist_ok=True)
