"""The models of the serving benchmarks: two residual networks, and one that takes microseconds.

    python benchmarks/serving/models.py FOLDER

Weights are random, with batch normalisation's statistics from photographs, so that different
pictures get different answers. What is in the folder already is kept.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from exports import calibrate

from kokeshi.engines.config import DynamicBatching, ModelConfig, QueuePolicy, Tensor, to_pbtxt
from kokeshi.plugin import Options, Recipe
from kokeshi.registry import Registry, discover

NETWORKS = ("resnet50", "resnet18")
NEGATE = "negate"
WIDTH = 16


def make(repository: Path) -> None:
    """Writes what is missing of the models."""
    for name in NETWORKS:
        if not (repository / name).exists():
            export_network(name, repository)
    if not (repository / NEGATE).exists():
        write_negate(repository / NEGATE)


def export_network(name: str, repository: Path) -> None:
    from kokeshi.export import export

    registry = discover()
    method, _, _ = registry.resolve(name)

    def build(options: Options) -> Recipe:
        recipe = method.build(options)
        for part in recipe.parts:
            calibrate(part)
        return recipe

    one = Registry.of([(registry.distributions[method.name], replace(method, build=build))])
    export(name, repository=repository, untrained=True, registry=one)


def write_negate(folder: Path) -> None:
    """y = -x of 16 floats, without a card: what a client of Triton brings."""
    from onnx import TensorProto, helper, save

    value = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDTH]) for name in ("x", "y")
    ]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], NEGATE, value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "1").mkdir(parents=True)
    save(model, folder / "1" / "model.onnx")
    config = ModelConfig(
        name=NEGATE,
        backend="onnxruntime",
        max_batch_size=64,
        input=(Tensor(name="x", data_type="TYPE_FP32", dims=(WIDTH,)),),
        output=(Tensor(name="y", data_type="TYPE_FP32", dims=(WIDTH,)),),
        dynamic_batching=DynamicBatching(default_queue_policy=QueuePolicy(max_queue_size=1024)),
    )
    (folder / "config.pbtxt").write_text(to_pbtxt(config))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
