"""The contract of stores on Qdrant: search."""

from contract_search import *  # noqa: F403
from contract_stores import shared_subject, subject  # noqa: F401
from qdrant_stores import opened  # noqa: F401
