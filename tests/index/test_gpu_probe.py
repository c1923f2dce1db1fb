"""Who asks FAISS for its GPUs may end with it: another process asks."""

from pathlib import Path

import faiss
import pytest
from gpu_stand_in import machine_with

from kokeshi.index.gpu.device import Gpu
from kokeshi.index.gpu.probe import CUVS_QUESTION, QUESTION, usable_gpus
from kokeshi.index.gpu.trial import abilities

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

# the FAISS that is installed, with the classes of a machine with cuVS
WITH_CUVS = """
import sys
sys.path.remove({folder!r})
del sys.modules["faiss"]
import faiss
sys.path.insert(0, {here!r})
from gpu_stand_in import Machine, classes
machine = Machine(2, has_cuvs=True)
{failure}
vars(faiss).update(classes(machine))
"""


@pytest.fixture
def cuvs_that(tmp_path, monkeypatch):
    """The same for a FAISS with cuVS: (what the trial alone does)."""

    def install(failure=""):
        here = str(Path(__file__).parent)
        failure = f"import os\nif 'tell' in ' '.join(sys.orig_argv):\n    {failure or 'pass'}"
        code = WITH_CUVS.format(folder=str(tmp_path), here=here, failure=failure)
        (tmp_path / "faiss.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        for name in ("StandardGpuResources", "GpuIndexCagra"):
            monkeypatch.setattr(faiss, name, object, raising=False)

    return install


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
    assert usable_gpus(30.0) == [Gpu(0), Gpu(1)]


def test_a_gpu_that_finds_the_wrong_rows_is_not_used(faiss_that):
    faiss_that("if self.number == 0: return None, numpy.zeros((32, 1), int)")
    assert usable_gpus(30.0) == [Gpu(1)]


def test_a_gpu_that_ends_the_process_is_not_used(faiss_that, caplog):
    faiss_that("if self.number == 1: os.abort()")
    assert usable_gpus(30.0) == [Gpu(0)]
    assert "FAISS failed" in caplog.text


def test_a_gpu_that_does_not_answer_is_not_used(faiss_that, caplog):
    faiss_that("import time; time.sleep(60)")
    assert usable_gpus(1.0) == []
    assert "none answered" in caplog.text


def test_the_questions_are_programs():
    compile(QUESTION, "question", "exec")
    compile(CUVS_QUESTION, "question", "exec")


def test_selectors_and_graphs_are_used_where_they_were_seen_to_work(cuvs_that):
    cuvs_that()
    assert usable_gpus(60.0) == [Gpu(0, selects=True, walks=True), Gpu(1, selects=True, walks=True)]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("machine.is_deaf = True", ""),
        ("os.abort()", "FAISS failed"),
        ("machine.broken = 'CUDA error'", "FAISS failed, RuntimeError: CUDA error"),
    ],
)
def test_gpus_whose_cuvs_does_not_work_are_used_without(cuvs_that, caplog, failure, said):
    cuvs_that(failure)
    assert usable_gpus(60.0) == [Gpu(0), Gpu(1)]
    assert said in caplog.text


@pytest.mark.parametrize(
    ("broken", "seen"),
    [
        ({}, ["selects", "walks"]),
        ({"is_deaf": True}, []),
        ({"no_graphs": "no kernel image is available"}, ["selects"]),
        ({"are_graphs_empty": True}, ["selects"]),
    ],
)
def test_what_cuvs_can_do_is_what_it_was_seen_to_do(monkeypatch, broken, seen):
    with machine_with(monkeypatch, 1, has_cuvs=True) as machine:
        vars(machine).update(broken)
        assert list(abilities(0)) == seen
