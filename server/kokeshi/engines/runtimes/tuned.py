"""What a model was tuned to run, and whether that holds on this machine."""

from dataclasses import dataclass

from kokeshi.card import PARAMETER, Card, Tuning
from kokeshi.engines.config import (
    GRAPH_FILE,
    ModelConfig,
    Optimization,
    from_pbtxt,
    parse_message,
    read_card,
    text_of,
)
from kokeshi.engines.runtimes.machine import Machine

THREADS_PARAMETER = "intra_op_thread_count"  # Triton's, among the parameters of a model


@dataclass(frozen=True)
class Choice:
    """Which graph of a version's folder to open, and how."""

    file: str
    sha256: str  # that the file must have
    config: ModelConfig  # to open it with
    degraded: str = ""  # why it is not what the configuration says


def choose(config: ModelConfig, card: Card, machine: Machine) -> Choice:
    """What the configuration says, where it was measured on hardware like this or never.

    On other hardware neither the speed nor the fidelity of a tuned graph is known: the graph that
    was verified runs in its place, in fp32 on ONNX Runtime.
    """
    file = config.default_model_filename or GRAPH_FILE
    tuning = card.tuning
    if tuning is None or _plain(tuning) or tuning.hardware in {machine.cpu, machine.gpu}:
        return Choice(file, card.digest_of(file), config)
    reason = (
        f"tuned for {tuning.hardware}, and this is {machine.gpu or machine.cpu}: runs {GRAPH_FILE} "
        f"in fp32; `kokeshi tune {card.name}` measures anew"
    )
    return Choice(GRAPH_FILE, card.model_sha256, untuned(config), reason)


def untuned(config: ModelConfig) -> ModelConfig:
    """A configuration without what tuning writes."""
    kept = {name: value for name, value in config.parameters.items() if name != THREADS_PARAMETER}
    return config.model_copy(
        update={
            "default_model_filename": "",
            "optimization": Optimization(),
            "instance_group": (),
            "parameters": kept,
        }
    )


def untuned_pbtxt(text: str) -> str:
    """A config.pbtxt without what tuning wrote, where its card says that it was tuned.

    What was measured of one version says nothing of the next.

    Raises:
        ArtefactError: it is not a configuration of Triton's, or its card is none.
    """
    config = from_pbtxt(text)
    if PARAMETER not in config.parameters:
        return text
    if read_card(config.name, config.parameters[PARAMETER]).tuning is None:
        return text
    message = parse_message(text)
    for field in ("default_model_filename", "instance_group"):
        message.ClearField(field)
    message.optimization.ClearField("execution_accelerators")
    if not message.optimization.ListFields():
        message.ClearField("optimization")
    message.parameters.pop(THREADS_PARAMETER, None)
    return text_of(message)


def _plain(tuning: Tuning) -> bool:
    """Whether what was chosen is the verified graph in fp32 on ONNX Runtime, on any hardware."""
    chosen = tuning.choice
    return (chosen.runtime, chosen.precision, chosen.file) == ("onnxruntime", "FP32", GRAPH_FILE)
