"""What the docs fill in for "Try it out": requests that the shipped models answer."""

from typing import Any, Final

# A seven of 8 x 8 pixels.
SEVEN: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAU0lEQVR42gFIALf/AQAKY3Xo/fxa"
    "AAAZsldfy1EHAwAK+sBOw7D1AAAFEzq5MwIAAAIkftDmnxMABAQS8f5d/P8BA/71Ida13/f/Av8CKNn5+/4A5EcfW9ReCRAA"
    "AAAASUVORK5CYII="
)
_IMAGE: Final = {"image": SEVEN}
_ITEM: Final = {"id": "seven", "input": _IMAGE, "metadata": {"label": "7"}}

# By the name of the body's record.
BODIES: Final[dict[str, Any]] = {
    "ClassifyRequest": {"inputs": [_IMAGE], "top_k": 3},
    "SegmentRequest": {"inputs": [_IMAGE], "format": "rle"},
    "EmbedRequest": {"inputs": [_IMAGE], "dimension": 8},
    "CompareRequest": {"left": _IMAGE, "right": _IMAGE},
    "CreateCollectionRequest": {"name": "sevens", "model": "digits_mrl"},
    "AddItemsRequest": {"items": [_ITEM], "on_conflict": "replace"},
    "NewItemBody": _ITEM,
    "GetItemsRequest": {"ids": ["seven"]},
    "IngestBatchBody": {"offset": 0, "items": [_ITEM]},
    "CountItemsRequest": {"filter": {"label": "7"}},
    "DeleteItemsRequest": {"ids": ["seven"]},
    "SetAliasesRequest": {"aliases": [{"name": "numbers", "collection": "sevens"}]},
    "SearchRequest": {"queries": [_IMAGE], "k": 5, "filter": {"label": "7"}},
    "SearchLine": {"id": 1, "queries": [_IMAGE], "k": 5},
    "ExplainRequest": {"id": "seven", "queries": [_IMAGE], "k": 5},
    "EmbeddingsRequest": {"model": "digits_mrl", "input": SEVEN, "dimensions": 16},
}
# Of parameters in the path: by the last word of it, else for all.
MODELS: Final = {"classify": "digits", "segment": "digit_scenes"}
PARAMETERS: Final = {
    "model": "digits_mrl",
    "name": "sevens",
    "item_id": "seven",
    "alias": "numbers",
    "retriever": "neighbour_vote",
    "fitted": "neighbour_vote",
}
