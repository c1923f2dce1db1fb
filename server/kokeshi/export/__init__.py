"""From a published method and its weights to a verified model folder; the only part with torch.

weights   reads a checkpoint and fits it into a network, strictly
graph     turns a network into an ONNX graph that takes uint8 images
verify    compares the graph with PyTorch on photographs and noise (samples, promises)
artefact  publishes model folders whole or not at all
"""

from kokeshi.export.pipeline import export

__all__ = ["export"]
