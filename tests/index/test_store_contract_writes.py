"""The contract of stores on the stores of this house: writes."""

from contract_stores import opened, shared_subject, subject  # noqa: F401
from contract_writes import *  # noqa: F403
