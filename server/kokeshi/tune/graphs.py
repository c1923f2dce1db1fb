"""Makes graphs of lower precision out of the verified one; that one is only read.

Int8 graphs come in two forms. ONNX Runtime's CPU kernels take uint8 on either side of a
convolution, and compute in float32 where one side lacks its scale. TensorRT and OpenVINO want int8
around zero, and scales before the convolution alone: of uint8 with another zero point, OpenVINO
2026.4 computes wrong answers (cosine 0.65 for the shipped digits, where this form has 0.9996).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.errors import SetupError
from kokeshi.tune.ways import Form

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

# What takes the time. All else stays in fp32: with additions and activations in int8 too, a
# ResNet-18 lost more and was no faster on ONNX Runtime.
HEAVY: Final = ("Conv", "MatMul", "Gemm")
# Beyond it lie the few activations that would stretch the scale of all others.
PERCENTILE: Final = 99.999
# Products of uint8 and int8 add up in 16 bits on processors without these instructions; weights of
# 7 bits keep the sums from overflowing.
VNNI_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


def make(
    form: Form, graph: Path, target: Path, rows: NDArray[np.uint8], input_name: str, *, vnni: bool
) -> None:
    """Writes a graph of another form.

    Args:
        form: any but fp32.
        graph: the verified graph.
        target: the file to write.
        rows: pictures to calibrate on, (N, height, width, 3).
        input_name: of the graph's input.
        vnni: whether the processor multiplies int8 into 32 bits.

    Raises:
        SetupError: onnx is not installed, or the graph is too large.
        Exception: whatever the tools raise of a graph that they cannot convert.
    """
    try:
        import onnx  # noqa: F401 - only whether it is there
    except ImportError:
        raise SetupError(f"{form} needs onnx: pip install 'kokeshi[tune]'") from None
    if graph.with_name(f"{graph.name}.data").exists():
        raise SetupError("a graph with its weights in a file of their own is not converted")
    with _hushed():
        if form is Form.FP16:
            _halve(graph, target)
        else:
            symmetric = form is Form.INT8_SYMMETRIC
            _quantise(graph, target, rows, input_name, symmetric=symmetric, vnni=vnni)


def _halve(graph: Path, target: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(graph), keep_io_types=True), target)


def _quantise(
    graph: Path,
    target: Path,
    rows: NDArray[np.uint8],
    input_name: str,
    *,
    symmetric: bool,
    vnni: bool,
) -> None:
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory(dir=target.parent) as folder:
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(graph, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Reader(rows, input_name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(HEAVY),
            nodes_to_exclude=heads(onnx.load(prepared, load_external_data=False)),
            per_channel=True,
            reduce_range=not (symmetric or vnni),
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
                "CalibPercentile": PERCENTILE,
                "OpTypesToExcludeOutputQuantization": list(HEAVY) if symmetric else [],
            },
        )


def heads(model: "ModelProto") -> list[str]:
    """Names of the heavy nodes that no heavy node follows: what they round, nothing evens out."""
    heavy = [node for node in model.graph.node if node.op_type in HEAVY]
    return [node.name for node in heavy if not _followed(node, model.graph)]


def _followed(node: Any, graph: "GraphProto") -> bool:  # noqa: ANN401 - onnx is untyped
    reached = set(node.output)
    for other in graph.node:  # in the order of execution
        if other is not node and reached.intersection(other.input):
            if other.op_type in HEAVY:
                return True
            reached.update(other.output)
    return False


class _Reader:
    """Calibration rows one by one, as onnxruntime.quantization asks for them."""

    def __init__(self, rows: NDArray[np.uint8], input_name: str) -> None:
        self._feeds = ({input_name: row[None]} for row in rows)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next feed; None at the end."""
        return next(self._feeds, None)


@contextmanager
def _hushed() -> Iterator[None]:
    """Without what the quantiser logs and prints, which is for its developers."""
    import io
    import logging
    from contextlib import redirect_stdout

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
