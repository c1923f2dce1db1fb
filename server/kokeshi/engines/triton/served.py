"""What an address serves: one version of one model, as its configuration says it is."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from kokeshi.card import PARAMETER, Card
from kokeshi.engines.checks import Checks
from kokeshi.engines.config import ModelConfig, check_card, from_pbtxt, read_card, text_of
from kokeshi.engines.protocol import Request, Tensors
from kokeshi.engines.triton.wire import Kept, Place, row_bytes, wire_type
from kokeshi.errors import ArtefactError

Key = tuple[str, int]  # name and version


@dataclass(frozen=True, eq=False)
class Served:
    """One version, worked out once.

    Attributes:
        pbtxt: the whole configuration as text.
        card: None where there is none of this version.
        same: what two addresses must agree on to be asked alike.
    """

    key: Key
    config: ModelConfig
    pbtxt: str
    card: Card | None
    checks: Checks
    same: str
    _datatypes: dict[str, str] = field(default_factory=dict)
    _output_bytes: dict[str, int] = field(default_factory=dict)  # of a row; 0: not known

    def inputs(self, inputs: Tensors, places: Mapping[str, Place]) -> tuple[Kept, ...]:
        """Name, datatype, shape and place of each input, in the order of `inputs`."""
        return tuple(
            (name, self._datatypes[name], tensor.shape, places.get(name))
            for name, tensor in inputs.items()
        )

    def outputs(self, request: Request, rows: int) -> dict[str, int]:
        """The outputs wanted, each with its bytes; 0 where they are not known beforehand."""
        known = self._output_bytes
        return {name: rows * known[name] for name in request.outputs or known}


def read_served(name: str, version: int, message: Any) -> Served:  # noqa: ANN401 - untyped
    """A version from Triton's ModelConfig message.

    Raises:
        ArtefactError: Kokeshi cannot serve it, or its card contradicts it.
    """
    pbtxt = text_of(message)
    config = from_pbtxt(pbtxt)
    card = _card(config, version)
    made = Served(
        key=(name, version),
        config=config,
        pbtxt=pbtxt,
        card=card,
        checks=Checks(name, config),
        same=card.model_sha256 if card else sha256(pbtxt.encode()).hexdigest(),
    )
    made._datatypes.update({it.name: wire_type(it.data_type) for it in config.input})
    made._output_bytes.update({it.name: row_bytes(it) for it in config.output})
    return made


def _card(config: ModelConfig, version: int) -> Card | None:
    """The card, where it is of this version: a configuration holds the one of the newest."""
    if PARAMETER not in config.parameters:
        return None
    card = read_card(config.name, config.parameters[PARAMETER])
    if card.version != version:
        return None
    check_card(config, card)
    return card


def untrained(served: Served) -> bool:
    """Whether its weights are random."""
    return served.card is not None and not served.card.checkpoint.trained


def require_parts(served: Served, present: Container[Key]) -> None:
    """Checks that the other graphs of its method are there too.

    Raises:
        ArtefactError: one of them is not.
    """
    for part in served.card.parts.values() if served.card else ():
        if (part, served.key[1]) not in present:
            raise ArtefactError(f"its part {part!r} of version {served.key[1]} is missing")
