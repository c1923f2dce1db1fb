"""The contract of stores on Qdrant: search."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the contract is a package for every store
pytest.register_assert_rewrite("contract", "contract_stores", "contract_search")

from contract_search import *  # noqa: E402, F403
from contract_stores import shared_subject, subject  # noqa: E402, F401
from qdrant_stores import opened  # noqa: E402, F401
