"""`kokeshi serve`: puts engine, images, collections and service together and opens the doors."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kokeshi.cli.options import new_app, takes_settings
from kokeshi.settings import Settings

if TYPE_CHECKING:
    from kokeshi.engines.protocol import Engine
    from kokeshi.gateway.serve import DoorOptions
    from kokeshi.index import Store
    from kokeshi.service import Service
    from kokeshi.service.collections.dials import Dials

app = new_app()


def serve(settings: Settings) -> None:
    """Answer requests until told to stop.

    SIGTERM and SIGINT let requests in flight finish; a second signal ends at once. Each setting is
    a flag here, an environment variable (KOKESHI_ and its name in capitals) and a key of the
    settings file.
    """
    from kokeshi.gateway import logs

    logs.configure(settings.log_format, settings.log_level)
    if settings.workers > 1:
        from kokeshi.cli.workers import run as run_workers

        run_workers(settings)
    else:
        from kokeshi.gateway.serve import run

        run(answer(assemble(settings), settings))


def assemble(settings: Settings) -> "Service":
    """The service with its engine, its images and its collections; not started.

    Raises:
        SetupError: the data folder cannot be used.
    """
    from kokeshi.cli.engines import engine_of
    from kokeshi.cli.stores import store_of

    return service_with(engine_of(settings), store_of(settings), settings)


def service_with(engine: "Engine", store: "Store", settings: Settings) -> "Service":
    """The service in front of an engine and a store; not started."""
    from kokeshi.images import ImagePool
    from kokeshi.images import Limits as ImageLimits
    from kokeshi.index.notes import Notes
    from kokeshi.registry import discover
    from kokeshi.service import Service
    from kokeshi.service.collection_types import CollectionLimits
    from kokeshi.service.retrieval.records import RetrievalLimits
    from kokeshi.service.types import Limits

    images = ImagePool(
        settings.image_threads,
        settings.max_decode_queue_images,
        ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
    )
    limits = Limits(**_named(settings, Limits.__dataclass_fields__))
    return Service(
        engine,
        images,
        store,
        limits,
        notes=Notes(settings.data),
        dials=_dials(store) if settings.recall_share else None,
        collection_limits=CollectionLimits(
            **_named(settings, CollectionLimits.__dataclass_fields__)
        ),
        registry=discover(),
        retrieval_limits=RetrievalLimits(**_named(settings, RetrievalLimits.__dataclass_fields__)),
    )


def _dials(store: "Store") -> "Dials | None":
    """What chooses depths: the store that measures, here or in another process."""
    from kokeshi.index.recall import Measured
    from kokeshi.index.remote import RemoteStore

    return store if isinstance(store, Measured | RemoteStore) else None


def _named(settings: Settings, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


def door_options(settings: Settings, *, reuse_port: bool = False) -> "DoorOptions":
    """How the doors treat connections and calls."""
    from kokeshi.gateway.serve import DoorOptions

    return DoorOptions(
        keep_alive_s=settings.keep_alive_s,
        threads=settings.grpc_threads,
        max_calls=settings.max_grpc_calls,
        max_streams=settings.max_grpc_streams,
        # a region that one worker knows would be unknown to the worker of the next connection
        client_shared_memory=settings.client_shared_memory and settings.workers == 1,
        reuse_port=reuse_port,
    )


async def answer(service: "Service", settings: Settings) -> None:
    """Serves until a signal, then closes the service; models load while the doors are open.

    Raises:
        SetupError: the repository or an address cannot be used.
    """
    from kokeshi.gateway.serve import serve as open_doors

    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(service.start())]
    try:
        await asyncio.sleep(0)  # what cannot start at all fails now, before a door is open
        if tasks[0].done():
            await tasks[0]
        doors = open_doors(
            service,
            http=settings.http,
            grpc=settings.grpc,
            drain_timeout_s=settings.drain_timeout_s,
            options=door_options(settings),
        )
        tasks.append(asyncio.create_task(doors))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in (*done, tasks[1]):
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await service.close()


app.command()(takes_settings(serve, without=("server",)))
