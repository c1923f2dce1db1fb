"""The contract of stores on Qdrant: filters."""

from contract_filters import *  # noqa: F403
from contract_stores import shared_subject, subject  # noqa: F401
from qdrant_stores import opened  # noqa: F401
