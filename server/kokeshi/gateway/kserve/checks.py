"""Whether a call fits the model that it names; what is told is what Triton would tell."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.kserve.contracts import Contract, InputContract
from kokeshi.gateway.kserve.datatypes import BYTES, shape_text
from kokeshi.gateway.kserve.records import InferInput, WantedOutput


def check_output(contract: Contract, wanted: WantedOutput) -> None:
    """Sees that the model has an output that is asked for.

    Raises:
        InvalidRequestError: it has not, or not in that way.
    """
    if wanted.name not in contract.outputs:
        raise InvalidRequestError(
            f"unexpected inference output {wanted.name!r} for model {contract.model!r}"
        )
    if wanted.region and wanted.classification:
        raise InvalidRequestError(
            f"output {wanted.name!r} can't set both 'shared_memory_region' and 'classification'"
        )


def checked_inputs(contract: Contract, inputs: Sequence[InferInput]) -> dict[str, NDArray[Any]]:
    """Inputs by name, that fit the model.

    Raises:
        InvalidRequestError: they do not; it says how.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for given in inputs:
        expected = contract.inputs.get(given.name)
        if expected is None:
            raise InvalidRequestError(
                f"unexpected inference input {given.name!r} for model {contract.model!r}"
            )
        if given.name in arrays:
            raise InvalidRequestError(f"input {given.name!r} already exists in request")
        check_input(contract, expected, given.datatype, given.shape)
        arrays[given.name] = given.array
    if len(arrays) != len(contract.inputs):
        raise InvalidRequestError(
            f"expected {len(contract.inputs)} inputs but got {len(arrays)} inputs for model "
            f"{contract.model!r}: got {_names(arrays)}, but missing required "
            f"{_names(name for name in contract.inputs if name not in arrays)}"
        )
    _check_rows(contract, arrays)
    return arrays


def check_input(
    contract: Contract, expected: InputContract, datatype: str, shape: tuple[int, ...]
) -> None:
    """Compares the type and shape of an input with the model's.

    Raises:
        InvalidRequestError: they do not fit.
    """
    if datatype != expected.datatype:
        if datatype == BYTES and expected.encoded:
            return  # of any length: `Tensors` splits them
        also = f" (or {BYTES!r}, encoded)" if expected.encoded else ""
        raise InvalidRequestError(
            f"inference input {expected.name!r} data-type is {datatype!r}, but model "
            f"{contract.model!r} expects {expected.datatype!r}{also}"
        )
    if not expected.fits(shape):
        note = " (the first axis is the batch)" if contract.max_rows else ""
        raise InvalidRequestError(
            f"unexpected shape for input {expected.name!r} for model {contract.model!r}: "
            f"expected {shape_text(expected.shape)}, got {shape_text(shape)}{note}"
        )
    if contract.max_rows and not 1 <= shape[0] <= contract.max_rows:
        raise InvalidRequestError(
            f"inference request batch-size must be >= 1 and <= {contract.max_rows} for "
            f"{contract.model!r}, not {shape[0]}"
        )


def _check_rows(contract: Contract, arrays: Mapping[str, NDArray[Any]]) -> None:
    if contract.max_rows and len(arrays) > 1:
        rows = {name: array.shape[0] for name, array in arrays.items() if array.ndim}
        first = next(iter(rows.values()), 0)
        for name, count in rows.items():
            if count != first:
                raise InvalidRequestError(
                    f"input {name!r} batch size does not match other inputs for "
                    f"{contract.model!r}: {count}, not {first}"
                )


def _names(names: Iterable[str]) -> str:
    return f"[{','.join(map(repr, names))}]"
