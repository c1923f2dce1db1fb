"""Files of forms.

They carry no checksum and FAISS trusts them: whoever reads one has to have verified it before.
"""

from pathlib import Path

from kokeshi.index.forms.form import FaissForm, Form
from kokeshi.index.forms.hnsw import HnswForm
from kokeshi.index.forms.ivf import IvfForm, probes_of
from kokeshi.index.forms.panorama import PanoramaForm
from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels.engine import load_faiss
from kokeshi.index.tuning import Tuning


def write(form: Form, path: Path) -> None:
    """Writes a form, in place and without fsync: both are up to the caller.

    Raises:
        RuntimeError: the disk refused.
    """
    assert isinstance(form, FaissForm)
    load_faiss().write_index(form.index, str(path))


def read(path: Path, geometry: Geometry, tuning: Tuning) -> Form:
    """Opens a form that `write` wrote.

    Raises:
        RuntimeError: the file cannot be read.
        ValueError: it holds something else.
    """
    faiss = load_faiss()
    index = faiss.read_index(str(path))
    length = index.d
    if length not in geometry.dimensions:
        raise ValueError(f"a form of length {length}, expected one of {geometry.dimensions}")
    if isinstance(index, faiss.IndexHNSW):
        return HnswForm(index, length, tuning.ef_search)
    if isinstance(index, faiss.IndexIVF):
        return IvfForm(index, length, probes_of(index))
    if isinstance(index, faiss.IndexFlatPanorama):
        return PanoramaForm(index, length, 0)
    raise ValueError(f"not a form: {type(index).__name__}")
