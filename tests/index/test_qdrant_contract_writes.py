"""The contract of stores on Qdrant: writes."""

from contract_stores import shared_subject, subject  # noqa: F401
from contract_writes import *  # noqa: F403
from qdrant_stores import opened  # noqa: F401
