"""One table for all errors: in the docstring, in the classes, and in both protocols."""

import re

import grpc
import pytest

from kokeshi import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.KokeshiError)
]
ROW = re.compile(r"^[ │├└─]*(\w+Error) *([A-Z_]*) *(\d*)", re.M)


def _documented():
    """Class -> (code, status); a row without them has those of the one it hangs from."""
    found, inherited = {}, ("", "")
    for name, code, status in ROW.findall(errors.__doc__):
        if code:
            inherited = (code, status)
        found[name] = inherited if not code else (code, status)
    return found


def test_the_docstring_lists_every_class():
    assert set(_documented()) == {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", [c for c in CLASSES if not issubclass(c, errors.SetupError)])
def test_a_class_has_the_status_that_the_docstring_gives_it(cls):
    code, status = _documented()[cls.__name__]
    error = cls("message")
    assert (error.code, error.http_status) == (code, int(status))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_code_is_grpcs_and_has_an_http_status(cls):
    assert cls.code in grpc.StatusCode.__members__
    assert cls.code in errors.HTTP_STATUS


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_says_what_it_means(cls):
    assert cls.__doc__
