"""Graphs on ONNX Runtime."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from kokeshi.engines.protocol import Tensors
from kokeshi.engines.runtimes.accelerators import CUDA, Providers
from kokeshi.engines.runtimes.tensors import (
    BF16,
    STRING,
    run_with_bfloat16,
    run_with_strings,
    values_of,
)
from kokeshi.errors import ArtefactError, UnavailableError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

_ERRORS: Final = 3  # log severity: failures are reported by exception, warnings are nothing to us


class OnnxRuntime:
    """See `Runtime`. Tensors are handed over as numpy arrays.

    One call costs 4 to 5 us around a graph that does nothing; neither I/O binding nor OrtValues
    were faster on a CPU, and bound output buffers would have to be copied for the caller.

    Args:
        session: opened.
        degraded: why it is not what was configured.

    Raises:
        ArtefactError: its tensors are of types that cannot be run together.
    """

    def __init__(self, session: "InferenceSession", degraded: str = "") -> None:
        self._session: InferenceSession | None = session
        self.inputs = values_of(session.get_inputs())
        self.outputs = values_of(session.get_outputs())
        self.providers = tuple(session.get_providers())
        self.degraded = degraded
        self._names = [value.name for value in self.outputs]
        types = {value.data_type for value in (*self.inputs, *self.outputs)}
        if {STRING, BF16} <= types:
            raise ArtefactError("a graph of strings and bfloat16 cannot be run on ONNX Runtime")
        self._run_unusual = run_with_strings if STRING in types else run_with_bfloat16
        self._unusual = bool(types & {STRING, BF16})

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """See `Runtime.run`."""
        session = self._session
        if session is None:
            raise UnavailableError("the model was unloaded")
        if self._unusual:
            return self._run_unusual(session, self.inputs, self.outputs, inputs)
        names = self._names
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    def close(self) -> None:
        """See `Runtime.close`."""
        self._session = None


def open_session(
    graph: Path, providers: Providers, *, threads: int, parameters: dict[str, str] | None = None
) -> "InferenceSession":
    """A session; where a provider's libraries do not load, ONNX Runtime leaves it out.

    Args:
        graph: the ONNX file.
        providers: with their options, best first.
        threads: cores that one run may use.
        parameters: of the model's configuration; `session_options` says which are obeyed.
    """
    import onnxruntime

    names = [name for name, _ in providers]
    if CUDA in names:  # its libraries may have come as Python packages
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(
        graph,
        session_options(threads, parameters or {}),
        providers=names,
        provider_options=[options for _, options in providers],
    )
    # After a failure of a provider ONNX Runtime would open the graph again, inside the request.
    session.disable_fallback()
    return session


def session_options(threads: int, parameters: dict[str, str]) -> "SessionOptions":
    """Options of a session, with the parameters that Triton's ONNX Runtime backend has for them.

    https://github.com/triton-inference-server/onnxruntime_backend#model-config-options
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0)) or threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = parameters.get("enable_mem_arena", "1") == "1"
    options.enable_mem_pattern = parameters.get("enable_mem_pattern", "1") == "1"
    options.log_severity_level = _ERRORS
    # Spinning threads of one model would take the cores from the others and from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
