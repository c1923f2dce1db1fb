"""The contract of stores on the stores of this house: concurrency."""

from contract_concurrency import *  # noqa: F403
from contract_stores import opened, shared_subject, subject  # noqa: F401
