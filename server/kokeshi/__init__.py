"""Kokeshi: serves published vision methods as verified models."""

from importlib.metadata import version

__version__ = version("kokeshi")
