"""Starts an installed tritonserver on a model of one node, to see that it works."""

from base64 import b64decode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from kokeshi.engines.triton.installation import Installation, Wheel
from kokeshi.engines.triton.launch import HOST, Launch, free_port
from kokeshi.engines.triton.running import Timeouts
from kokeshi.engines.triton.stub import Limits
from kokeshi.engines.triton.supervisor import Source, Supervisor
from kokeshi.errors import SetupError, UnavailableError

MODEL: Final = "twice"
ASKED: Final = [1.0, -2.5, 3.0]
ASK_TIMEOUT_S: Final = 30.0
TIMEOUTS: Final = Timeouts(start_s=60.0, load_s=120.0)
# y = x + x, both float32 (N), ONNX IR version 8 and operator set 13: `tests` compare it.
GRAPH: Final = b64decode(
    "CAg6OwoOCgF4CgF4EgF5IgNBZGQSBXR3aWNlWhAKAXgSCwoJCAESBQoDEgFOYhAKAXkSCwoJCAESBQoDEgFOQgQKABAN"
)
CONFIG: Final = """
name: "twice"
backend: "onnxruntime"
max_batch_size: 0
input { name: "x" data_type: TYPE_FP32 dims: [-1] }
output { name: "y" data_type: TYPE_FP32 dims: [-1] }
"""


def run_one_model(wheel: Wheel) -> None:
    """Loads the model and asks it.

    Raises:
        SetupError: the server does not start, cannot run it, or runs it wrong.
    """
    with TemporaryDirectory(prefix="kokeshi-") as scratch:
        folder = Path(scratch, MODEL, "1")
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(GRAPH)
        (folder.parent / "config.pbtxt").write_text(CONFIG)
        _load(Installation(Path(wheel.program), wheel), Path(scratch))


def _load(installation: Installation, repository: Path) -> None:
    launch = Launch(installation, repository, free_port(), threads=1)
    supervisor = Supervisor(launch, Limits(), TIMEOUTS, lambda: None, lambda model, kind: None)
    try:
        supervisor.start(())
        supervisor.load(MODEL, Source())
        answer = _ask(f"{HOST}:{launch.port}")
    except UnavailableError as error:
        raise SetupError(f"the tritonserver cannot run a model: {error}") from None
    finally:
        supervisor.close()
    if answer != [2.0 * value for value in ASKED]:
        raise SetupError(f"the tritonserver doubles {ASKED} to {answer}")


def _ask(address: str) -> list[float]:
    import numpy as np
    from tritonclient.grpc import InferenceServerClient, InferInput
    from tritonclient.utils import InferenceServerException

    asked = InferInput("x", [len(ASKED)], "FP32")
    asked.set_data_from_numpy(np.array(ASKED, np.float32))
    try:
        with InferenceServerClient(address) as client:
            answer = client.infer(MODEL, [asked], client_timeout=ASK_TIMEOUT_S)
    except InferenceServerException as error:
        raise UnavailableError(error.message()) from None
    return [float(value) for value in answer.as_numpy("y")]
