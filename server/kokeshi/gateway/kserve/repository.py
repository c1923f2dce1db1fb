"""Configurations as both doors exchange them, and models loaded with what a client sends along.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from kokeshi.errors import InvalidRequestError, UnimplementedError
from kokeshi.gateway.kserve.calls import version_of
from kokeshi.service import Service

_CONFIG: Final = "config"
_FILE: Final = "file:"
_DEPENDENTS: Final = "unload_dependents"  # no model here depends on another being loaded


def config_message(service: Service, model: str, version: str = "") -> Any:  # noqa: ANN401 - untyped
    """A model's configuration as tritonclient's `ModelConfig` message.

    Raises:
        InvalidRequestError: `version` is no version.
        ModelNotFoundError: no such model or version.
        UnavailableError: it does not answer.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = service.pbtxt(model, version_of(version))
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def config_json(service: Service, model: str, version: str = "") -> dict[str, Any]:
    """A model's configuration as Triton's JSON: every field, and numbers as numbers.

    Raises:
        Exception: as `config_message`.
    """
    return _fields(config_message(service, model, version))


async def load(
    service: Service, model: str, parameters: Mapping[str, object], repository: str = ""
) -> None:
    """Loads a model, or loads it again.

    Args:
        service: what loads it.
        model: name.
        parameters: "config" is a configuration in JSON; "file:<path>" the contents of a file, as
            bytes, or as text in base64.
        repository: there is one, so it has no name.

    Raises:
        InvalidRequestError: a parameter is not one of these.
        ModelNotFoundError: the repository has no such folder.
        UnavailableError: it cannot be loaded.
        UnimplementedError: a repository was named.
    """
    _check_repository(repository)
    config, files = "", {}
    for name, value in parameters.items():
        if name == _CONFIG:
            config = _pbtxt(model, value)
        elif name.startswith(_FILE):
            files[name.removeprefix(_FILE)] = _contents(name, value)
        else:
            raise InvalidRequestError(f"unrecognised load parameter {name!r}")
    if files and not config:
        raise InvalidRequestError(
            f"load parameter 'config' must be specified along with {_FILE + next(iter(files))!r}"
        )
    await service.load(model, config, files or None)


async def unload(
    service: Service, model: str, parameters: Mapping[str, object], repository: str = ""
) -> None:
    """Stops serving a model.

    Args:
        service: what serves it.
        model: name.
        parameters: "unload_dependents" is taken, and changes nothing.
        repository: there is one, so it has no name.

    Raises:
        InvalidRequestError: a parameter is another.
        ModelNotFoundError: no such model.
        UnimplementedError: a repository was named.
    """
    _check_repository(repository)
    for name, value in parameters.items():
        if name != _DEPENDENTS or not isinstance(value, bool):
            raise InvalidRequestError(
                f"unload takes the parameter {_DEPENDENTS!r}, a bool, not {name!r}"
            )
    await service.unload(model)


def _check_repository(repository: str) -> None:
    if repository:
        raise UnimplementedError("'repository_name' specification is not supported")


def _pbtxt(model: str, value: object) -> str:
    """The text of a config.pbtxt of a configuration in JSON."""
    from google.protobuf import text_format
    from google.protobuf.json_format import ParseDict, ParseError
    from tritonclient.grpc import model_config_pb2

    if not isinstance(value, str):
        raise InvalidRequestError(f"load parameter {_CONFIG!r} is a string of JSON")
    try:
        fields = json.loads(value)
        if not isinstance(fields, dict):
            raise InvalidRequestError(f"load parameter {_CONFIG!r} is a JSON object")
        message = ParseDict(fields, model_config_pb2.ModelConfig())
    except (ValueError, RecursionError, ParseError) as error:
        raise InvalidRequestError(
            f"load parameter {_CONFIG!r} is no configuration of model {model!r}: {error}"
        ) from error
    return text_format.MessageToString(message, as_utf8=True)


def _contents(name: str, value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequestError(f"load parameter {name!r} is not base64") from error
    raise InvalidRequestError(f"load parameter {name!r} holds the bytes of a file")


def _fields(message: Any) -> dict[str, Any]:  # noqa: ANN401 - untyped
    """A message as JSON; protobuf's own writes 64-bit integers as strings, and Triton does not."""
    from google.protobuf.descriptor import FieldDescriptor

    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue  # of a choice, what was not chosen
        if field.message_type is None:
            found[field.name] = _value(field, getattr(message, field.name))
        elif field.message_type.GetOptions().map_entry:
            entries = getattr(message, field.name)
            inner = field.message_type.fields_by_name["value"]
            nested = inner.type == FieldDescriptor.TYPE_MESSAGE
            found[field.name] = {
                str(key): _fields(entries[key]) if nested else _value(inner, entries[key])
                for key in entries
            }
        elif field.is_repeated:
            found[field.name] = [_fields(each) for each in getattr(message, field.name)]
        else:
            found[field.name] = _fields(getattr(message, field.name))
    return found


def _value(field: Any, value: Any) -> Any:  # noqa: ANN401 - untyped
    """A number, text or name of an enumeration, or a list of them."""
    if field.is_repeated:
        return [_single(field, each) for each in value]
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:  # noqa: ANN401 - untyped
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return value
