"""The record of all settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from kokeshi.engines.triton.installation import default_folder
from kokeshi.errors import SetupError
from kokeshi.settings.cores import usable_cores
from kokeshi.settings.kinds import (
    Address,
    EngineName,
    Folder,
    Headers,
    Level,
    Names,
    StoreName,
    StoreTuning,
)
from kokeshi.settings.sources import (
    PREFIX,
    explained,
    file_of,
    from_environment,
    from_file,
    named,
)

SECRETS: Final = ("store_token",)


class Settings(BaseSettings):
    """Every setting. Made by `Settings.load`; the constructor takes values alone."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    repository: Folder = Field(Path("model_repository"), description="Folder of model folders.")
    data: Folder = Field(
        default_factory=lambda: user_data_path("kokeshi", appauthor=False),
        description="Folder of the collections; by default the user's own data folder.",
    )
    store: StoreName = Field(
        "embedded",
        description="What keeps the collections: embedded (this server, in its data folder), "
        "milvus://host:port or qdrant://host:port (milvuss:// and qdrants:// with TLS).",
    )
    store_token: str = Field(
        "", description="Key of a Milvus (or user:password) or a Qdrant; never shown."
    )
    store_timeout_s: float = Field(
        30.0, gt=0, description="Seconds that a call to a Milvus or a Qdrant may take."
    )
    allow_network_files: bool = Field(
        default=False,
        description="Keep collections on a network file system, whose locks and fsyncs may not "
        "hold what they promise.",
    )
    store_tuning: StoreTuning = Field(
        "",
        description="Thresholds of the embedded store: name=value, with commas, such as "
        "hnsw_rows=200000,gpu.memory_bytes=4294967296; an unknown name tells all of them.",
    )
    http: Address = Field(
        "127.0.0.1:8000", description="Address of the HTTP door; port 0 takes a free one."
    )
    grpc: Address = Field(
        "127.0.0.1:8001", description="Address of the gRPC door; port 0 takes a free one."
    )
    server: Address = Field(
        "127.0.0.1:8001", description="Address of the gRPC door that commands talk to."
    )
    engine: EngineName = Field(
        "embedded",
        description="What runs the graphs: embedded (this server), triton (a Triton server that "
        "this one starts) or triton://host:port (tritons:// with TLS; commas between several; "
        "options ca, certificate, key and shared_memory after a ?).",
    )
    isolation: Literal["none", "model"] = Field(
        "none",
        description="Embedded engine: whether each model runs in a process of its own, so that "
        "one that crashes takes nothing with it.",
    )
    wedge_timeout_s: float = Field(
        60.0,
        gt=0,
        description="Isolation: seconds that a batch may run before its process is replaced.",
    )
    model_control: Literal["none", "poll", "explicit"] = Field(
        "none",
        description="Embedded engine and triton: none loads all models at the start; poll also "
        "follows the folder; explicit loads and unloads by request.",
    )
    load_models: Names = Field(
        "", description="Models that explicit control loads at the start, with commas; * is all."
    )
    poll_s: float = Field(15.0, gt=0, description="Seconds between two looks at the folder.")
    cache_bytes: int = Field(
        64 * 2**20,
        ge=0,
        description="Memory of the response cache, for models that ask for it; 0 turns it off.",
    )
    loads_at_once: int = Field(
        4, gt=0, description="Embedded engine: models that load at the same time."
    )
    max_queue_requests: int = Field(
        1024,
        ge=0,
        description="Embedded engine: requests that may wait for a model whose configuration "
        "does not say; 0 is no limit.",
    )
    engine_cache: Folder = Field(
        default_factory=lambda: user_cache_path("kokeshi", appauthor=False) / "engines",
        description="Where engines built for this hardware are kept; by default in the user's "
        "own cache folder.",
    )
    client_shared_memory: bool = Field(
        default=True,
        description="Let KServe clients on this machine hand tensors over by shared memory; not "
        "with several workers.",
    )
    workers: int = Field(
        1,
        gt=0,
        description="Gateway processes; with more than one the engine is a process behind them.",
    )
    triton_headers: Headers = Field(
        "", description="Headers of each call to Triton: name=value, with commas."
    )
    triton_home: Folder = Field(
        default_factory=default_folder,
        description="Where `kokeshi triton install` puts its Triton; by default in the user's "
        "own data folder.",
    )
    watch_s: float = Field(
        0.5, gt=0, description="Seconds between two looks at the health of a Triton."
    )
    threads: int = Field(
        0, ge=0, description="Cores that one batch may use; 0 is all that the process may use."
    )
    decode_threads: int = Field(
        0, ge=0, description="Threads that decode images; 0 is one per core of the process."
    )
    allow_untrained: bool = Field(
        default=False, description="Serve models whose weights are random, for tests."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the log lines.")
    log_level: Level = Field("INFO", description="Least important lines that are logged.")
    max_request_bytes: int = Field(64 * 2**20, gt=0, description="Largest request.")
    max_image_bytes: int = Field(32 * 2**20, gt=0, description="Largest image file.")
    max_image_pixels: int = Field(
        64 * 10**6, gt=0, description="Largest image, height times width."
    )
    max_inputs: int = Field(256, gt=0, description="Inputs that one call may bring.")
    max_k: int = Field(
        10_000,
        gt=0,
        description="Hits or labels that one call may ask for; a page of items has at most 1,000.",
    )
    max_ingest_batches: int = Field(
        4, gt=0, description="Batches of one ingest stream that are stored at once."
    )
    max_stream_searches: int = Field(
        32, gt=0, description="Searches of one stream that run at once."
    )
    max_examples: int = Field(256, gt=0, description="Examples of all queries of one search.")
    max_excluded: int = Field(1000, gt=0, description="Ids that one search may leave out.")
    max_rounds: int = Field(
        8, gt=0, description="Searches that one query may take to fill its groups."
    )
    max_tenants: int = Field(
        10_000, gt=0, description="Tenants of a collection that one call may list."
    )
    store_threads: int = Field(
        16,
        gt=0,
        description="Calls to the store at once, and as many searches by vectors on the threads of"
        " gRPC; those that come together share a pass.",
    )
    max_sample_items: int = Field(
        20_000, gt=0, description="Items whose vectors a fit or a diagnosis reads."
    )
    max_scanned_items: int = Field(
        1_000_000, gt=0, description="Items whose ids are read to draw such a sample."
    )
    max_references: int = Field(1000, gt=0, description="Items of one subject of a verification.")
    max_pairs: int = Field(100_000, gt=0, description="Judged pairs of one fit.")
    max_jobs: int = Field(4, gt=0, description="Fits and diagnoses that run or wait.")
    max_job_s: float = Field(
        600.0, gt=0, description="Seconds that a fit or a diagnosis may run: others wait for it."
    )
    max_cached_models: int = Field(
        16, gt=0, description="Fitted retrievers that are kept in memory."
    )
    transfer_batch_items: int = Field(
        256, gt=0, description="Items that a transfer between collections writes at once."
    )
    default_k: int = Field(
        100, gt=0, description="Neighbours that a retriever sees where the caller does not say."
    )
    least_recall: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Recall that a map between spaces must reach on held-out queries, where the "
        "caller does not say.",
    )
    recall_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of the searches that are repeated exactly in idle time, to measure "
        "recall; 0 measures nothing.",
    )
    recall_core_share: float = Field(
        0.1, gt=0, le=1, description="Share of a core that measuring recall may take."
    )
    max_decode_queue_images: int = Field(
        4096, gt=0, description="Images that may wait to be decoded; more are refused."
    )
    max_grpc_calls: int = Field(
        4096, gt=0, description="gRPC calls that may be in flight; more are refused."
    )
    grpc_threads: int = Field(
        64,
        gt=0,
        description="Threads of gRPC at most; more than a few are used only where calls block, as "
        "with workers and Triton.",
    )
    max_grpc_streams: int = Field(
        128, gt=0, description="KServe streams over gRPC at once; each holds a thread."
    )
    keep_alive_s: int = Field(
        75,
        gt=0,
        description="Seconds that an idle HTTP connection stays open; longer than clients and "
        "proxies keep theirs.",
    )
    drain_timeout_s: float = Field(
        30.0, gt=0, description="Seconds that requests may still take after a signal to stop."
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load` reads the sources itself, because it has to remember which value is whose."""
        return (init_settings,)

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, *, config: Path | None = None) -> Self:
        """Settings from flags, environment, settings file and defaults.

        Args:
            flags: by name; None is a flag that was not given.
            config: settings file; None: the one the environment names, or `kokeshi.toml` here.

        Raises:
            SetupError: a name is unknown, a value is not of its kind, or the file cannot be read.
        """
        file = file_of(config)
        layers = {  # the best last
            f"file {file}": from_file(file, cls.model_fields) if file else {},
            "environment": from_environment(cls),
            "flag": {name: value for name, value in (flags or {}).items() if value is not None},
        }
        values: dict[str, Any] = {}
        sources = dict.fromkeys(cls.model_fields, "default")
        for source, layer in layers.items():
            values |= layer
            sources |= {name: named(source, name) for name in layer}
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise SetupError(explained(error, values, sources)) from None
        settings._sources = sources
        return settings

    def sources(self) -> dict[str, str]:
        """For each setting: "default", "file NAME", "environment VARIABLE" or "flag --NAME"."""
        return {name: self._sources.get(name, "default") for name in type(self).model_fields}

    def shown(self) -> dict[str, Any]:
        """Every value as it may be printed: secrets are starred."""
        values = self.model_dump(mode="json")
        return values | {name: "***" for name in SECRETS if values[name]}

    @property
    def models_to_load(self) -> tuple[str, ...]:
        """`load_models`, one by one."""
        return tuple(name.strip() for name in self.load_models.split(",") if name.strip())

    @property
    def headers_to_triton(self) -> dict[str, str]:
        """`triton_headers`, by name in lower case as gRPC has them."""
        pairs = [pair.partition("=") for pair in self.triton_headers.split(",") if pair]
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    @property
    def engine_threads(self) -> int:
        """`threads`, or the cores that this process may use."""
        return self.threads or usable_cores()

    @property
    def image_threads(self) -> int:
        """`decode_threads`, or the cores that this process may use."""
        return self.decode_threads or usable_cores()
