"""Runtimes: what executes graphs, and how a configuration chooses among them."""

from kokeshi.engines.runtimes.machine import Machine, this_machine
from kokeshi.engines.runtimes.opening import open_runtime
from kokeshi.engines.runtimes.protocol import Progress, Runtime, Value

__all__ = ["Machine", "Progress", "Runtime", "Value", "open_runtime", "this_machine"]
