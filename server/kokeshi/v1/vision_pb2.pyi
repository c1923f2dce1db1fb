from kokeshi.v1 import inputs_pb2 as _inputs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MaskFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_FORMAT_UNSPECIFIED: _ClassVar[MaskFormat]
    MASK_FORMAT_PNG: _ClassVar[MaskFormat]
    MASK_FORMAT_RLE: _ClassVar[MaskFormat]
    MASK_FORMAT_POLYGONS: _ClassVar[MaskFormat]

class VectorEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VECTOR_ENCODING_UNSPECIFIED: _ClassVar[VectorEncoding]
    VECTOR_ENCODING_FLOAT32: _ClassVar[VectorEncoding]
    VECTOR_ENCODING_FLOAT16: _ClassVar[VectorEncoding]
    VECTOR_ENCODING_INT8: _ClassVar[VectorEncoding]
    VECTOR_ENCODING_BINARY: _ClassVar[VectorEncoding]
MASK_FORMAT_UNSPECIFIED: MaskFormat
MASK_FORMAT_PNG: MaskFormat
MASK_FORMAT_RLE: MaskFormat
MASK_FORMAT_POLYGONS: MaskFormat
VECTOR_ENCODING_UNSPECIFIED: VectorEncoding
VECTOR_ENCODING_FLOAT32: VectorEncoding
VECTOR_ENCODING_FLOAT16: VectorEncoding
VECTOR_ENCODING_INT8: VectorEncoding
VECTOR_ENCODING_BINARY: VectorEncoding

class ClassifyRequest(_message.Message):
    __slots__ = ("model", "version", "inputs", "top_k", "threshold", "dimension", "labels", "templates")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    inputs: _containers.RepeatedCompositeFieldContainer[_inputs_pb2.Input]
    top_k: int
    threshold: float
    dimension: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    templates: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[_inputs_pb2.Input, _Mapping]]] = ..., top_k: _Optional[int] = ..., threshold: _Optional[float] = ..., dimension: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., templates: _Optional[_Iterable[str]] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("model", "results")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    model: _inputs_pb2.ModelRef
    results: _containers.RepeatedCompositeFieldContainer[Classification]
    def __init__(self, model: _Optional[_Union[_inputs_pb2.ModelRef, _Mapping]] = ..., results: _Optional[_Iterable[_Union[Classification, _Mapping]]] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("labels", "multi_label")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MULTI_LABEL_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedCompositeFieldContainer[Label]
    multi_label: bool
    def __init__(self, labels: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., multi_label: bool = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("name", "index", "score")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    index: int
    score: float
    def __init__(self, name: _Optional[str] = ..., index: _Optional[int] = ..., score: _Optional[float] = ...) -> None: ...

class SegmentRequest(_message.Message):
    __slots__ = ("model", "version", "inputs", "format", "threshold")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    inputs: _containers.RepeatedCompositeFieldContainer[_inputs_pb2.Input]
    format: MaskFormat
    threshold: float
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[_inputs_pb2.Input, _Mapping]]] = ..., format: _Optional[_Union[MaskFormat, str]] = ..., threshold: _Optional[float] = ...) -> None: ...

class SegmentResponse(_message.Message):
    __slots__ = ("model", "results")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    model: _inputs_pb2.ModelRef
    results: _containers.RepeatedCompositeFieldContainer[Segmentation]
    def __init__(self, model: _Optional[_Union[_inputs_pb2.ModelRef, _Mapping]] = ..., results: _Optional[_Iterable[_Union[Segmentation, _Mapping]]] = ...) -> None: ...

class Segmentation(_message.Message):
    __slots__ = ("height", "width", "label_map_png", "foreground_png", "regions", "instances")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    LABEL_MAP_PNG_FIELD_NUMBER: _ClassVar[int]
    FOREGROUND_PNG_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    label_map_png: bytes
    foreground_png: bytes
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    instances: _containers.RepeatedCompositeFieldContainer[Instance]
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., label_map_png: _Optional[bytes] = ..., foreground_png: _Optional[bytes] = ..., regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ..., instances: _Optional[_Iterable[_Union[Instance, _Mapping]]] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("label", "index", "area_pixels", "area_share", "mask")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    AREA_PIXELS_FIELD_NUMBER: _ClassVar[int]
    AREA_SHARE_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    label: str
    index: int
    area_pixels: int
    area_share: float
    mask: Mask
    def __init__(self, label: _Optional[str] = ..., index: _Optional[int] = ..., area_pixels: _Optional[int] = ..., area_share: _Optional[float] = ..., mask: _Optional[_Union[Mask, _Mapping]] = ...) -> None: ...

class Instance(_message.Message):
    __slots__ = ("label", "index", "score", "box", "mask")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    label: str
    index: int
    score: float
    box: Box
    mask: Mask
    def __init__(self, label: _Optional[str] = ..., index: _Optional[int] = ..., score: _Optional[float] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., mask: _Optional[_Union[Mask, _Mapping]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x", "y", "width", "height")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    width: float
    height: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Mask(_message.Message):
    __slots__ = ("png", "rle", "polygons")
    PNG_FIELD_NUMBER: _ClassVar[int]
    RLE_FIELD_NUMBER: _ClassVar[int]
    POLYGONS_FIELD_NUMBER: _ClassVar[int]
    png: bytes
    rle: RunLengths
    polygons: Polygons
    def __init__(self, png: _Optional[bytes] = ..., rle: _Optional[_Union[RunLengths, _Mapping]] = ..., polygons: _Optional[_Union[Polygons, _Mapping]] = ...) -> None: ...

class RunLengths(_message.Message):
    __slots__ = ("height", "width", "counts")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class Polygons(_message.Message):
    __slots__ = ("polygons",)
    POLYGONS_FIELD_NUMBER: _ClassVar[int]
    polygons: _containers.RepeatedCompositeFieldContainer[Polygon]
    def __init__(self, polygons: _Optional[_Iterable[_Union[Polygon, _Mapping]]] = ...) -> None: ...

class Polygon(_message.Message):
    __slots__ = ("points", "hole")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    HOLE_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedScalarFieldContainer[float]
    hole: bool
    def __init__(self, points: _Optional[_Iterable[float]] = ..., hole: bool = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("model", "version", "inputs", "dimension", "encoding", "normalised")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    NORMALISED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    inputs: _containers.RepeatedCompositeFieldContainer[_inputs_pb2.Input]
    dimension: int
    encoding: VectorEncoding
    normalised: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[_inputs_pb2.Input, _Mapping]]] = ..., dimension: _Optional[int] = ..., encoding: _Optional[_Union[VectorEncoding, str]] = ..., normalised: bool = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("model", "space", "dimension", "vectors")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    model: _inputs_pb2.ModelRef
    space: str
    dimension: int
    vectors: _containers.RepeatedCompositeFieldContainer[Vector]
    def __init__(self, model: _Optional[_Union[_inputs_pb2.ModelRef, _Mapping]] = ..., space: _Optional[str] = ..., dimension: _Optional[int] = ..., vectors: _Optional[_Iterable[_Union[Vector, _Mapping]]] = ...) -> None: ...

class Vector(_message.Message):
    __slots__ = ("values", "data", "scale")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    data: bytes
    scale: float
    def __init__(self, values: _Optional[_Iterable[float]] = ..., data: _Optional[bytes] = ..., scale: _Optional[float] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("model", "version", "left", "right", "dimension")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    left: _inputs_pb2.Input
    right: _inputs_pb2.Input
    dimension: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., left: _Optional[_Union[_inputs_pb2.Input, _Mapping]] = ..., right: _Optional[_Union[_inputs_pb2.Input, _Mapping]] = ..., dimension: _Optional[int] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("model", "space", "dimension", "similarity", "distance", "verdict", "threshold")
    class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VERDICT_UNSPECIFIED: _ClassVar[CompareResponse.Verdict]
        VERDICT_SAME: _ClassVar[CompareResponse.Verdict]
        VERDICT_DIFFERENT: _ClassVar[CompareResponse.Verdict]
    VERDICT_UNSPECIFIED: CompareResponse.Verdict
    VERDICT_SAME: CompareResponse.Verdict
    VERDICT_DIFFERENT: CompareResponse.Verdict
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    model: _inputs_pb2.ModelRef
    space: str
    dimension: int
    similarity: float
    distance: float
    verdict: CompareResponse.Verdict
    threshold: float
    def __init__(self, model: _Optional[_Union[_inputs_pb2.ModelRef, _Mapping]] = ..., space: _Optional[str] = ..., dimension: _Optional[int] = ..., similarity: _Optional[float] = ..., distance: _Optional[float] = ..., verdict: _Optional[_Union[CompareResponse.Verdict, str]] = ..., threshold: _Optional[float] = ...) -> None: ...
