"""The engine that the settings name."""

from functools import partial
from typing import TYPE_CHECKING

from kokeshi.settings import Settings

if TYPE_CHECKING:
    from kokeshi.engines.protocol import Engine, Wanted


def engine_of(settings: Settings) -> "Engine":
    """The engine, not started.

    Raises:
        SetupError: the address of a Triton is none, or there is no tritonserver to start.
    """
    match settings.engine:
        case "embedded":
            return _embedded(settings)
        case "triton":
            return _local_triton(settings)
        case _:
            return _remote_triton(settings)


def _embedded(settings: Settings) -> "Engine":
    from kokeshi.engines.embedded import EmbeddedEngine
    from kokeshi.engines.process.runtime import ProcessRuntime
    from kokeshi.engines.runtimes import open_runtime

    isolated = partial(ProcessRuntime, wedge_timeout_s=settings.wedge_timeout_s)
    return EmbeddedEngine(
        settings.repository,
        threads=settings.engine_threads,
        allow_untrained=settings.allow_untrained,
        wanted=_wanted(settings),
        cache_bytes=settings.cache_bytes,
        loads_at_once=settings.loads_at_once,
        max_queue_requests=settings.max_queue_requests,
        cache_folder=settings.engine_cache,
        open_runtime=isolated if settings.isolation == "model" else open_runtime,
        path="shared memory" if settings.isolation == "model" else "in process",
        drain_timeout_s=settings.drain_timeout_s,
    )


def _local_triton(settings: Settings) -> "Engine":
    from kokeshi import metrics
    from kokeshi.engines.triton.installation import find_tritonserver
    from kokeshi.engines.triton.local_engine import LocalTritonEngine

    return LocalTritonEngine(
        find_tritonserver(settings.triton_home),
        settings.repository,
        wanted=_wanted(settings),
        threads=settings.engine_threads,
        on_restart=lambda model, reason: metrics.MODEL_RESTARTS.labels(model, reason).inc(),
        allow_untrained=settings.allow_untrained,
        watch_s=settings.watch_s,
        drain_timeout_s=settings.drain_timeout_s,
    )


def _remote_triton(settings: Settings) -> "Engine":
    from kokeshi.engines.triton.remote import TritonEngine
    from kokeshi.engines.triton.target import parse_target

    target = parse_target(settings.engine)
    copy = settings.repository if settings.repository.is_dir() else None
    return TritonEngine(
        target.addresses,
        tls=target.tls,
        headers=settings.headers_to_triton,
        shared_memory=target.shared_memory,
        allow_untrained=settings.allow_untrained,
        watch_s=settings.watch_s,
        drain_timeout_s=settings.drain_timeout_s,
        files=copy,
    )


def _wanted(settings: Settings) -> "Wanted":
    from kokeshi.engines.protocol import Wanted

    return Wanted(settings.model_control, settings.poll_s, settings.models_to_load)
