"""Triton's model configuration: typed records of the part that Kokeshi writes and obeys.

The fields have the names of Triton's own `ModelConfig` message, so that a record turns into the
message and back by name; every text is checked against the message that tritonclient brings. Fields
that are Triton's but not ours are ignored when a configuration is read, and kept when one is
updated. tritonclient is imported inside the functions: it takes 0.1 s beyond grpc and numpy.

https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from kokeshi.card import PARAMETER, Card
from kokeshi.contract import ImageInput, Input, Meaning, Output, Record
from kokeshi.errors import ArtefactError

CONFIG_FILE: Final = "config.pbtxt"
LABELS_FILE: Final = "labels.txt"
CARD_FILE: Final = "card.json"  # in each version's folder: the card of that version's graph
GRAPH_FILE: Final = "model.onnx"
BACKEND: Final = "onnxruntime"
MAX_BATCH_SIZE: Final = 32
MAX_QUEUE_SIZE: Final = 1024  # Triton's own default is no limit at all
# Without a default Triton ignores a request's own timeout, which can only be shorter.
DEFAULT_TIMEOUT_US: Final = 60_000_000

_DATA_TYPES: Final = {Meaning.LABEL_MAP: "TYPE_UINT8"}
# What an export decides; the rest of a configuration is the operator's tuning.
_OF_THE_GRAPH: Final = (
    "name", "platform", "backend", "max_batch_size", "input", "output", "default_model_filename",
    "model_warmup", "parameters",
)  # fmt: skip


class _Message(Record):
    model_config = ConfigDict(extra="ignore")


class Reshape(_Message):
    """The shape that the graph has where requests have `dims`; an empty one is a single value."""

    shape: tuple[int, ...] = ()


class Tensor(_Message):
    """An input or output. `dims` leaves the batch axis out where `max_batch_size` is over 0."""

    name: str
    data_type: str
    dims: tuple[int, ...] = ()
    reshape: Reshape | None = None
    label_filename: str = ""


class QueuePolicy(_Message):
    """How long a queue may grow and a request may wait; 0 is no limit."""

    timeout_action: Literal["REJECT", "DELAY"] = "REJECT"
    default_timeout_microseconds: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0


class DynamicBatching(_Message):
    """Merging of waiting requests into batches.

    Level 1 of `priority_levels` is served first; 0 levels are no priorities. Levels that are not in
    `priority_queue_policy` have the default policy.
    """

    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_microseconds: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: QueuePolicy = QueuePolicy()
    priority_queue_policy: dict[int, QueuePolicy] = Field(default_factory=dict)


class InstanceGroup(_Message):
    """Copies of the model that run at once; a count of 0 is Triton's "not said", which is 1."""

    name: str = ""
    kind: str = "KIND_AUTO"
    count: int = 0
    gpus: tuple[int, ...] = ()


class Latest(_Message):
    """The newest versions."""

    num_versions: int


class AllVersions(_Message):
    """Every version."""


class Specific(_Message):
    """The versions named."""

    versions: tuple[int, ...]


class VersionPolicy(_Message):
    """Which versions are served: one of the fields, or the newest when none is given."""

    latest: Latest | None = None
    all: AllVersions | None = None
    specific: Specific | None = None

    def select(self, present: Iterable[int]) -> tuple[int, ...]:
        """The versions to serve of those in the folder, ascending."""
        versions = sorted(present)
        if self.all is not None:
            return tuple(versions)
        if self.specific is not None:
            return tuple(version for version in versions if version in self.specific.versions)
        count = self.latest.num_versions if self.latest else 1
        return tuple(versions[-count:])


class WarmupInput(_Message):
    """One tensor of a warm-up request; `dims` leaves the batch axis out."""

    data_type: str
    dims: tuple[int, ...] = ()
    zero_data: bool = False
    random_data: bool = False
    input_data_file: str = ""


class Warmup(_Message):
    """A request that runs before the model is ready; a count of 0 is once."""

    name: str
    batch_size: int = 0
    inputs: dict[str, WarmupInput] = Field(default_factory=dict)
    count: int = 0


class ResponseCache(_Message):
    """Whether equal requests are answered from memory, where the server keeps a cache."""

    enable: bool = False


class Accelerator(_Message):
    """An execution provider, such as "tensorrt", with its options."""

    name: str
    parameters: dict[str, str] = Field(default_factory=dict)


class ExecutionAccelerators(_Message):
    """Execution providers to prefer, best first."""

    gpu_execution_accelerator: tuple[Accelerator, ...] = ()
    cpu_execution_accelerator: tuple[Accelerator, ...] = ()


class Optimization(_Message):
    """How the graph is to be executed."""

    execution_accelerators: ExecutionAccelerators = ExecutionAccelerators()


class ModelConfig(_Message):
    """A model's configuration. `parameters` holds the card under the key "kokeshi"."""

    name: str = ""
    platform: str = ""
    backend: str = ""
    version_policy: VersionPolicy = VersionPolicy()
    max_batch_size: int = 0
    input: tuple[Tensor, ...] = ()
    output: tuple[Tensor, ...] = ()
    optimization: Optimization = Optimization()
    dynamic_batching: DynamicBatching | None = None
    instance_group: tuple[InstanceGroup, ...] = ()
    default_model_filename: str = ""
    model_warmup: tuple[Warmup, ...] = ()
    response_cache: ResponseCache = ResponseCache()
    parameters: dict[str, str] = Field(default_factory=dict)


def config_for(card: Card, max_batch_size: int = MAX_BATCH_SIZE) -> ModelConfig:
    """The configuration that serves a card's graph, with the card inside.

    Requests merge without waiting for one another; a request may bring its own deadline.
    """
    inputs, outputs = _tensors(card, batched=max_batch_size > 0)
    policy = QueuePolicy(
        default_timeout_microseconds=DEFAULT_TIMEOUT_US,
        allow_timeout_override=True,
        max_queue_size=MAX_QUEUE_SIZE,
    )
    return ModelConfig(
        name=card.name,
        backend=BACKEND,
        max_batch_size=max_batch_size,
        input=inputs,
        output=outputs,
        dynamic_batching=DynamicBatching(default_queue_policy=policy) if max_batch_size else None,
        model_warmup=(_warmup(card.input),) if max_batch_size else (),
        parameters={PARAMETER: card.model_dump_json()},
    )


def card_from(config: ModelConfig) -> Card:
    """The card inside a configuration.

    Raises:
        ArtefactError: there is none, it is not a card, or it contradicts the configuration.
    """
    if PARAMETER not in config.parameters:
        raise ArtefactError(f"model {config.name!r} has no parameter {PARAMETER!r}, the card")
    card = read_card(config.name, config.parameters[PARAMETER])
    check_card(config, card)
    return card


def check_card(config: ModelConfig, card: Card) -> None:
    """Compares a card with the configuration that serves its graph.

    Raises:
        ArtefactError: they contradict one another.
    """
    if config.name != card.name:
        raise ArtefactError(f"configuration of {config.name!r} holds the card of {card.name!r}")
    expected = _tensors(card, batched=config.max_batch_size > 0)
    for found, wanted in zip((config.input, config.output), expected, strict=True):
        _check_tensors(card.name, found, wanted)


def read_card(model: str, text: str | bytes) -> Card:
    """A card from its JSON text.

    Raises:
        ArtefactError: it is not a card of a version that this server reads.
    """
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        raise ArtefactError(f"card of model {model!r}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "document"
    return f"{where}: {first['msg'].lower()}"


def to_pbtxt(config: ModelConfig) -> str:
    """The text of config.pbtxt."""
    return text_of(message_of(config))


def from_pbtxt(text: str) -> ModelConfig:
    """Reads a config.pbtxt; Triton's fields that Kokeshi does not use are ignored.

    Raises:
        ArtefactError: it is not a configuration of Triton's, and the message names the line; or it
            leaves out what has no default.
    """
    from google.protobuf.json_format import MessageToDict

    fields = MessageToDict(parse_message(text), preserving_proto_field_name=True)
    parameters = fields.pop("parameters", {})
    texts = {key: value.get("string_value", "") for key, value in parameters.items()}
    try:
        return ModelConfig.model_validate({**fields, "parameters": texts})
    except ValidationError as error:
        raise ArtefactError(_first_problem(error)) from error


def updated_pbtxt(text: str, config: ModelConfig) -> str:
    """An existing config.pbtxt with what `config` says of the graph, and the tuning kept.

    Batching, instances, version policy, accelerators and foreign parameters stay as the operator
    wrote them.

    Raises:
        ArtefactError: the existing text is not a configuration of Triton's.
    """
    tuned, fresh = parse_message(text), message_of(config)
    foreign = {key: value.string_value for key, value in tuned.parameters.items()}
    for descriptor, _ in fresh.ListFields():
        if descriptor.name not in _OF_THE_GRAPH:
            fresh.ClearField(descriptor.name)
    for name in _OF_THE_GRAPH:
        tuned.ClearField(name)
    tuned.MergeFrom(fresh)
    for key, value in foreign.items():
        if key not in config.parameters:
            tuned.parameters[key].string_value = value
    return text_of(tuned)


def message_of(config: ModelConfig) -> Any:  # noqa: ANN401 - tritonclient is untyped
    """Triton's own message of a configuration."""
    from google.protobuf.json_format import ParseDict
    from tritonclient.grpc import model_config_pb2

    fields = config.model_dump(mode="json", exclude_defaults=True)
    parameters = {key: {"string_value": value} for key, value in config.parameters.items()}
    return ParseDict({**fields, "parameters": parameters}, model_config_pb2.ModelConfig())


def parse_message(text: str) -> Any:  # noqa: ANN401 - tritonclient is untyped
    """Triton's own message, from the text of a config.pbtxt.

    Raises:
        ArtefactError: it is not a configuration of Triton's, and the message names the line.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        reason = str(error).split(" : ", 1)[-1]
        raise ArtefactError(f"{CONFIG_FILE}, line {error.GetLine()}: {reason}") from error


def text_of(message: Any) -> str:  # noqa: ANN401 - tritonclient is untyped
    """The text of a config.pbtxt, from Triton's own message."""
    from google.protobuf import text_format

    return text_format.MessageToString(
        message, as_utf8=True, use_short_repeated_primitives=True, use_index_order=True
    )


def _tensors(card: Card, *, batched: bool) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and outputs as Triton counts their axes: the batch axis only where it is not its own.

    https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
    """
    batch = () if batched else (-1,)
    data_type, dims = _input_type(card.input)
    inputs = (Tensor(name=card.input.name, data_type=data_type, dims=batch + dims),)
    return inputs, tuple(_output(card, output, batch) for output in card.outputs)


def _output(card: Card, output: Output, batch: tuple[int, ...]) -> Tensor:
    classes = output.meaning in {Meaning.PROBABILITIES, Meaning.SCORES}
    return Tensor(
        name=output.name,
        data_type=_DATA_TYPES.get(output.meaning, "TYPE_FP32"),
        dims=batch + output.shape,
        label_filename=LABELS_FILE if classes and card.labels else "",
    )


def _input_type(contract: Input) -> tuple[str, tuple[int, ...]]:
    if isinstance(contract, ImageInput):
        return "TYPE_UINT8", (contract.height, contract.width, 3)
    return "TYPE_INT64", (contract.context_length,)


def _warmup(contract: Input) -> Warmup:
    data_type, dims = _input_type(contract)
    blank = WarmupInput(data_type=data_type, dims=dims, zero_data=True)
    return Warmup(name="one blank row", batch_size=1, inputs={contract.name: blank})


def _check_tensors(model: str, found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    """Compares what the graph's users rely on: names in order, types and dims."""

    def says(tensors: tuple[Tensor, ...]) -> str:
        return ", ".join(
            f"{tensor.name} {tensor.data_type} {list(tensor.dims)}" for tensor in tensors
        )

    if says(found) != says(wanted):
        raise ArtefactError(
            f"configuration of {model!r} says {says(found)}, its card says {says(wanted)}"
        )
