"""What a version of a model takes and gives, worked out once from its configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, proxy

import numpy as np

from kokeshi.card import Card
from kokeshi.engines.config import ModelConfig, Tensor
from kokeshi.errors import (
    ArtefactError,
    KokeshiError,
    ModelNotFoundError,
    UnavailableError,
    WrongTaskError,
)
from kokeshi.gateway.kserve.datatypes import BYTES, DTYPES, datatype_of
from kokeshi.service import Service


@dataclass(frozen=True, slots=True)
class InputContract:
    """An input. `shape` has the batch axis where the model batches; -1 is any length."""

    name: str
    datatype: str
    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    encoded: bool  # BYTES are taken too: the card says how images or texts become tensors
    batch_axes: int  # 1 where the first axis is of the batch, else 0

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor may have this shape."""
        first = self.batch_axes
        if len(shape) == len(self.shape) and shape[first:] == self.shape[first:]:
            return True  # nearly always
        return len(shape) == len(self.shape) and all(
            wanted in {-1, given} for wanted, given in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class OutputContract:
    """An output. `shape` as that of an input; `label_file` is "" where there are no classes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    label_file: str


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of a model."""

    model: str
    version: int
    config: ModelConfig
    inputs: dict[str, InputContract]
    outputs: dict[str, OutputContract]
    max_rows: int  # 0: the model does not batch, and shapes have no batch axis of Triton's
    card: Card | None


class Contracts:
    """The contracts of a service's models; any thread may ask."""

    def __init__(self, service: Service) -> None:
        self._service = proxy(service)  # whose end ends this too
        self._known: dict[tuple[str, int], Contract] = {}
        self._labels: dict[tuple[str, int, str], tuple[ModelConfig, Sequence[str]]] = {}

    def of(self, model: str, version: int = 0) -> Contract:
        """The contract of a version that answers; 0 is the newest.

        Raises:
            ModelNotFoundError: no such model or version.
            UnavailableError: it does not answer.
        """
        known = self._known.get((model, version))
        if known is None or not self._holds(known, version):
            known = self._made(model, version)
            self._known[model, version] = known
        return known

    def _holds(self, known: Contract, version: int) -> bool:
        """Whether a contract is of what answers now: an engine keeps one record per load."""
        service = self._service
        return service.config(known.model, version) is known.config and (
            known.card is None or service.card(known.model, version) is known.card
        )

    def _made(self, model: str, version: int) -> Contract:
        try:
            return _contract(self._service, model, version)
        except (ModelNotFoundError, UnavailableError):
            if version:
                raise
            return _contract(self._service, model, version)  # it was swapped in the midst of it

    def labels(self, contract: Contract, output: OutputContract) -> Sequence[str]:
        """Class names of an output, none where it has none; reads a file at the first asking."""
        if not output.label_file:
            return ()
        key = contract.model, contract.version, output.name
        found = self._labels.get(key)
        if found is None or found[0] is not contract.config:
            found = contract.config, self._read(contract, output)
            self._labels[key] = found
        return found[1]

    def _read(self, contract: Contract, output: OutputContract) -> Sequence[str]:
        """The label file where the engine has the folder, else what the card says."""
        try:
            data = self._service.file(contract.model, output.label_file)
        except (KokeshiError, OSError):
            return contract.card.labels if contract.card else ()
        return data.decode(errors="replace").splitlines()


_OF_SERVICE: "WeakKeyDictionary[Service, Contracts]" = WeakKeyDictionary()


def contracts_of(service: Service) -> Contracts:
    """The contracts of a service, which both doors share."""
    found = _OF_SERVICE.get(service)
    if found is None:
        found = _OF_SERVICE.setdefault(service, Contracts(service))
    return found


def _contract(service: Service, model: str, version: int) -> Contract:
    service.config(model, version)  # says best why a model does not answer
    try:
        card = service.card(model, version)
    except WrongTaskError:
        card = None
    number = card.version if card else version or _newest(service, model)
    config = service.config(model, number)
    encoded = card.input.name if card else ""
    batched = config.max_batch_size > 0
    return Contract(
        model,
        number,
        config,
        {each.name: _input(each, batched, each.name == encoded) for each in config.input},
        {each.name: _output(each, batched) for each in config.output},
        config.max_batch_size,
        card,
    )


def _newest(service: Service, model: str) -> int:
    versions = [each.version for each in service.index() if each.name == model and each.answers]
    if not versions:
        raise ModelNotFoundError(f"no model named {model!r}")
    return max(versions)


def _shape(tensor: Tensor, batched: bool) -> tuple[int, ...]:
    return (-1, *tensor.dims) if batched else tensor.dims


def _input(tensor: Tensor, batched: bool, encoded: bool) -> InputContract:
    datatype = datatype_of(tensor.data_type)
    if datatype not in DTYPES:
        raise ArtefactError(f"input {tensor.name!r} is of the unknown type {tensor.data_type!r}")
    return InputContract(
        tensor.name,
        datatype,
        DTYPES[datatype],
        _shape(tensor, batched),
        encoded and datatype != BYTES,
        int(batched),
    )


def _output(tensor: Tensor, batched: bool) -> OutputContract:
    return OutputContract(
        tensor.name,
        datatype_of(tensor.data_type),
        _shape(tensor, batched),
        tensor.label_filename,
    )
