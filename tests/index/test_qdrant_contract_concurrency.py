"""The contract of stores on Qdrant: concurrency."""

from contract_concurrency import *  # noqa: F403
from contract_stores import shared_subject, subject  # noqa: F401
from qdrant_stores import opened  # noqa: F401
