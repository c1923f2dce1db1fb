"""Who asks FAISS for its GPUs may end with it: another process asks."""

import faiss
import pytest

from kokeshi.index.gpu.probe import QUESTION, usable_gpus

HONEST = """
class StandardGpuResources:
    def setTempMemory(self, size): pass
class GpuIndexFlatConfig: pass
METRIC_INNER_PRODUCT = 0
class GpuIndexFlat:
    def __init__(self, resources, dims, metric, config): self.number = config.device
    def add(self, rows): pass
    def search(self, rows, k):
        import numpy, os
        {failure}
        return None, numpy.arange(32)[:, None]
def get_num_gpus(): return 2
"""


@pytest.fixture
def faiss_that(tmp_path, monkeypatch):
    """Puts a FAISS with two GPUs before the one that is installed, for other processes."""

    def install(failure="pass"):
        (tmp_path / "faiss.py").write_text(HONEST.format(failure=failure))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)

    return install


def test_a_faiss_without_gpus_is_not_asked(monkeypatch):
    monkeypatch.setattr("subprocess.run", None)
    assert usable_gpus(5.0) == []


def test_gpus_that_find_their_neighbours_are_used(faiss_that):
    faiss_that()
    assert usable_gpus(30.0) == [0, 1]


def test_a_gpu_that_finds_the_wrong_rows_is_not_used(faiss_that):
    faiss_that("if self.number == 0: return None, numpy.zeros((32, 1), int)")
    assert usable_gpus(30.0) == [1]


def test_a_gpu_that_ends_the_process_is_not_used(faiss_that, caplog):
    faiss_that("if self.number == 1: os.abort()")
    assert usable_gpus(30.0) == [0]
    assert "FAISS failed" in caplog.text


def test_a_gpu_that_does_not_answer_is_not_used(faiss_that, caplog):
    faiss_that("import time; time.sleep(60)")
    assert usable_gpus(1.0) == []
    assert "none answered" in caplog.text


def test_the_question_is_a_program():
    compile(QUESTION, "question", "exec")
