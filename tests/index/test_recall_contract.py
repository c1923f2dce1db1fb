"""The contract of stores on a store that is measured and batched."""

import pytest
from contract_concurrency import *  # noqa: F403
from contract_filters import *  # noqa: F403
from contract_search import *  # noqa: F403
from contract_stores import shared_subject, subject  # noqa: F401
from contract_writes import *  # noqa: F403

from kokeshi.index import EmbeddedStore
from kokeshi.index.batching import Batched
from kokeshi.index.recall import Effort, Measured, Pace, Sampling


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """One store for all tests of this file; every search is repeated as soon as can be."""
    store = Measured(
        Batched(EmbeddedStore(tmp_path_factory.mktemp("contract"))),
        sampling=Sampling(share=1.0),
        pace=Pace(core_share=0.5, survey_s=0.5),
        effort=Effort(queries=16, least_rows=100),
    )
    yield store
    store.close()
