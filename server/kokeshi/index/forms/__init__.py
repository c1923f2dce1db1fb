"""Indexes over the rows of a collection, built aside and never changed again."""

from kokeshi.index.forms.building import KINDS, build, extend, serves
from kokeshi.index.forms.files import read, write
from kokeshi.index.forms.form import BuildStoppedError, Form

__all__ = ["KINDS", "BuildStoppedError", "Form", "build", "extend", "read", "serves", "write"]
