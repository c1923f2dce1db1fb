"""KServe v2, the Open Inference Protocol with Triton's extensions: what both doors share.

https://github.com/kserve/open-inference-protocol/tree/main/specification/protocol
https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from kokeshi.gateway.kserve.calls import infer, infer_now, infer_soon
from kokeshi.gateway.kserve.errors import grpc_code, http_status
from kokeshi.gateway.kserve.records import (
    InferAnswer,
    InferCall,
    InferInput,
    InferOutput,
    WantedOutput,
)
from kokeshi.gateway.kserve.shared_memory import SharedMemory, regions_of

__all__ = [
    "InferAnswer",
    "InferCall",
    "InferInput",
    "InferOutput",
    "SharedMemory",
    "WantedOutput",
    "grpc_code",
    "http_status",
    "infer",
    "infer_now",
    "infer_soon",
    "regions_of",
]
