"""The ways to run a graph that are worth measuring on a machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kokeshi.engines.config import (
    Accelerator,
    ExecutionAccelerators,
    InstanceGroup,
    ModelConfig,
    Optimization,
)
from kokeshi.engines.runtimes.accelerators import CUDA, TENSORRT
from kokeshi.engines.runtimes.machine import Machine
from kokeshi.engines.runtimes.tuned import THREADS_PARAMETER, untuned

# Processors that multiply in bfloat16; on others OpenVINO would compute in float32.
_BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_FP16_FLAGS: Final = frozenset({"avx512_fp16", "amx_fp16"})
_MANY_CORES: Final = 8  # from here on, cores also work in teams of `_TEAM`
_TEAM: Final = 4


class Form(StrEnum):
    """What a graph was made into."""

    FP32 = "fp32"  # the verified graph itself
    FP16 = "fp16"
    INT8 = "int8"  # as ONNX Runtime computes it on a CPU
    INT8_SYMMETRIC = "int8-symmetric"  # as OpenVINO and TensorRT want it


@dataclass(frozen=True)
class Way:
    """One way to run a graph."""

    runtime: str  # "onnxruntime", "openvino", "cuda", "tensorrt"
    precision: str  # "FP32", "FP16", "BF16", "INT8"
    form: Form
    instances: int = 1  # runs at once
    threads: int = 0  # of each instance; 0: a GPU runs it

    @property
    def name(self) -> str:
        """For tables and the card; no two ways of a machine have the same."""
        shape = f", {self.instances} x {self.threads} threads" if self.threads else ""
        return f"{self.runtime} {self.precision.lower()}{shape}"

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU runs it."""
        return self.runtime in {"cuda", "tensorrt"}

    def configured(self, config: ModelConfig, file: str) -> ModelConfig:
        """A configuration that runs a graph this way, and nothing of an earlier tuning."""
        kind = "KIND_GPU" if self.on_gpu else "KIND_CPU"
        parameters = untuned(config).parameters
        if self.runtime == "onnxruntime" and self.instances > 1:
            parameters = {**parameters, THREADS_PARAMETER: str(self.threads)}
        return config.model_copy(
            update={
                "default_model_filename": file,
                "optimization": Optimization(execution_accelerators=self._accelerators()),
                "instance_group": (InstanceGroup(kind=kind, count=self.instances),),
                "parameters": parameters,
            }
        )

    def _accelerators(self) -> ExecutionAccelerators:
        given = {"precision_mode": self.precision}
        if self.runtime == "tensorrt":
            named = (Accelerator(name="tensorrt", parameters=given),)
            return ExecutionAccelerators(gpu_execution_accelerator=named)
        if self.runtime == "openvino":
            if self.instances > 1:
                given["num_streams"] = str(self.instances)
            named = (Accelerator(name="openvino", parameters=given),)
            return ExecutionAccelerators(cpu_execution_accelerator=named)
        return ExecutionAccelerators()


def ways(machine: Machine, cores: int) -> tuple[Way, ...]:
    """Every way worth measuring; the first is the one that the others are compared with."""
    on_cpu = [
        Way(runtime, precision, form, instances, threads)
        for instances, threads in layouts(cores)
        for runtime, precision, form in _on_cpu(machine)
    ]
    # Few CPUs compute in float16; on the others each operator casts to float32 and back.
    halved = Way("onnxruntime", "FP16", Form.FP16, 1, cores)
    return (*on_cpu, halved, *_on_gpu(machine))


def layouts(cores: int) -> list[tuple[int, int]]:
    """Instances, and threads of each: all cores on one run, a core for each run, and teams."""
    found = [(1, cores)]
    if cores >= _MANY_CORES:
        found.append((cores // _TEAM, _TEAM))
    if cores > 1:
        found.append((cores, 1))
    return found


def _on_cpu(machine: Machine) -> Iterator[tuple[str, str, Form]]:
    yield "onnxruntime", "FP32", Form.FP32
    yield "onnxruntime", "INT8", Form.INT8
    if not machine.openvino:
        return
    yield "openvino", "FP32", Form.FP32
    if _BF16_FLAGS & set(machine.flags):
        yield "openvino", "BF16", Form.FP32
    if _FP16_FLAGS & set(machine.flags):
        yield "openvino", "FP16", Form.FP32
    yield "openvino", "INT8", Form.INT8_SYMMETRIC


def _on_gpu(machine: Machine) -> Iterator[Way]:
    if not machine.gpus or CUDA not in machine.providers:
        return
    yield Way("cuda", "FP32", Form.FP32)
    yield Way("cuda", "FP16", Form.FP16)
    if machine.tensorrt and TENSORRT in machine.providers:
        yield Way("tensorrt", "FP32", Form.FP32)
        yield Way("tensorrt", "FP16", Form.FP32)
        yield Way("tensorrt", "INT8", Form.INT8_SYMMETRIC)
