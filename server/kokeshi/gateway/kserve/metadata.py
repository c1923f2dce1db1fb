"""What KServe v2 tells of a server and its models, in the fields of Triton's JSON and messages."""

from collections.abc import Sequence
from typing import Final, TypedDict

from kokeshi import __version__
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.protocol import ModelStatus, State
from kokeshi.engines.statistics import BatchStatistics, ModelStatistics, Spent
from kokeshi.errors import UnimplementedError
from kokeshi.gateway.kserve.calls import version_of
from kokeshi.gateway.kserve.contracts import InputContract, OutputContract, contracts_of
from kokeshi.service import Service

SERVER: Final = "kokeshi"
EXTENSIONS: Final = (
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
# Triton's word for each of our states; `reason` says which it is.
_STATES: Final = {
    State.ABSENT: "UNAVAILABLE",
    State.LOADING: "LOADING",
    State.BUILDING: "LOADING",
    State.WARMING: "LOADING",
    State.READY: "READY",
    State.DEGRADED: "READY",
    State.FAILED: "UNAVAILABLE",
}
_PLATFORMS: Final = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}


class ServerMetadata(TypedDict):
    """See `ServerMetadataResponse`."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(TypedDict):
    """See `ModelMetadataResponse.TensorMetadata`."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(TypedDict):
    """See `ModelMetadataResponse`."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelIndex(TypedDict):
    """See `RepositoryIndexResponse.ModelIndex`."""

    name: str
    version: str
    state: str
    reason: str


class Duration(TypedDict):
    """See `StatisticDuration`."""

    count: int
    ns: int


class Inferences(TypedDict):
    """See `InferStatistics`."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class Batches(TypedDict):
    """See `InferBatchStatistics`."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class Statistics(TypedDict):
    """See `ModelStatistics` of the protocol."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: Inferences
    batch_stats: list[Batches]


def server_metadata() -> ServerMetadata:
    """What this server is."""
    return ServerMetadata(name=SERVER, version=__version__, extensions=list(EXTENSIONS))


def model_metadata(service: Service, model: str, version: str = "") -> ModelMetadata:
    """What a model takes and gives.

    Raises:
        InvalidRequestError: `version` is no version.
        ModelNotFoundError: no such model or version.
        UnavailableError: it does not answer.
    """
    contract = contracts_of(service).of(model, version_of(version))
    answering = [each.version for each in service.index() if each.name == model and each.answers]
    return ModelMetadata(
        name=model,
        versions=[str(each) for each in sorted({*answering, contract.version})],
        platform=_platform(contract.config),
        inputs=[_tensor(each) for each in contract.inputs.values()],
        outputs=[_tensor(each) for each in contract.outputs.values()],
    )


def model_ready(service: Service, model: str, version: str = "") -> bool:
    """Whether a version answers; one that is not there does not.

    Raises:
        InvalidRequestError: `version` is no version.
    """
    return service.model_ready(model, version_of(version))


def repository_index(
    service: Service, ready: bool = False, repository: str = ""
) -> list[ModelIndex]:
    """Every version of every model, or those that answer, in Triton's words.

    Raises:
        UnimplementedError: a repository was named: there is one.
    """
    if repository:
        raise UnimplementedError("'repository_name' specification is not supported")
    return [_index(status) for status in service.index() if status.answers or not ready]


async def statistics(service: Service, model: str = "", version: str = "") -> list[Statistics]:
    """What happened to the requests of one model or ("") all, of one version or ("") all.

    Raises:
        InvalidRequestError: `version` is no version.
        ModelNotFoundError: no such model or version.
    """
    found = await service.statistics(model, version_of(version))
    return [_statistics(each) for each in found]


def _platform(config: ModelConfig) -> str:
    return config.platform or _PLATFORMS.get(config.backend, config.backend)


def _tensor(contract: InputContract | OutputContract) -> TensorMetadata:
    return TensorMetadata(
        name=contract.name, datatype=contract.datatype, shape=list(contract.shape)
    )


def _index(status: ModelStatus) -> ModelIndex:
    version = str(status.version) if status.version else ""
    return ModelIndex(
        name=status.name, version=version, state=_STATES[status.state], reason=_reason(status)
    )


def _reason(status: ModelStatus) -> str:
    """Our state and its reason, such as "building: 43 %"; "" of a model that is simply ready."""
    said: Sequence[str] = ()
    if status.state is State.BUILDING and status.progress is not None:
        said = (f"{status.progress:.0%}".replace("%", " %"),)
    if status.reason:
        said = (*said, status.reason)
    if status.state is State.READY:
        return ": ".join(said)
    return ": ".join((status.state.value, *said))


def _spent(spent: Spent) -> Duration:
    return Duration(count=spent.count, ns=spent.ns)


def _statistics(found: ModelStatistics) -> Statistics:
    return Statistics(
        name=found.name,
        version=str(found.version),
        last_inference=found.last_inference_ms,
        inference_count=found.inference_count,
        execution_count=found.execution_count,
        inference_stats=Inferences(
            success=_spent(found.success),
            fail=_spent(found.fail),
            queue=_spent(found.queue),
            compute_input=_spent(found.compute_input),
            compute_infer=_spent(found.compute_infer),
            compute_output=_spent(found.compute_output),
            cache_hit=_spent(found.cache_hit),
            cache_miss=_spent(found.cache_miss),
        ),
        batch_stats=[_batches(rows, found.batches[rows]) for rows in sorted(found.batches)],
    )


def _batches(rows: int, found: BatchStatistics) -> Batches:
    return Batches(
        batch_size=rows,
        compute_input=_spent(found.compute_input),
        compute_infer=_spent(found.compute_infer),
        compute_output=_spent(found.compute_output),
    )
