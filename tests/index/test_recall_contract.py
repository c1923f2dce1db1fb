"""The contract of stores on a store that is measured and batched."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the contract is a package for every store
pytest.register_assert_rewrite(
    "contract", "contract_stores", "contract_search", "contract_concurrency"
)

from contract_concurrency import *  # noqa: E402, F403
from contract_filters import *  # noqa: E402, F403
from contract_search import *  # noqa: E402, F403
from contract_stores import shared_subject, subject  # noqa: E402, F401
from contract_writes import *  # noqa: E402, F403

from kokeshi.index import EmbeddedStore  # noqa: E402
from kokeshi.index.batching import Batched  # noqa: E402
from kokeshi.index.recall import Effort, Measured, Pace, Sampling  # noqa: E402


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
