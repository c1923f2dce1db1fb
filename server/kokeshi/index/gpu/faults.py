"""What goes wrong with a GPU, told apart by what FAISS says of it."""

import re
from typing import Final

_SAID: Final = re.compile("out[ _]of[ _]memory", re.IGNORECASE)  # CUDA's words, and cuVS's


class GpuLostError(Exception):
    """The GPU failed, or does not answer: nothing more is asked of it."""


class GpuFullError(Exception):
    """Rows do not fit into what may be taken of a GPU, or into what is free there."""


class UnfitRowsError(Exception):
    """Rows that float16 cannot hold."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether a GPU had too little memory; FAISS raises RuntimeError for that as for all."""
    return isinstance(error, MemoryError) or _SAID.search(str(error)) is not None
