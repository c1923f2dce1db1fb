"""How many hits a store elsewhere gives where their vectors are long."""

import pytest

from kokeshi.errors import TooLargeError
from kokeshi.index import CollectionSpec, SearchParams
from kokeshi.index.distributed.ranking import check_depth

LONG = CollectionSpec("long", "0123456789abcdef", 1024)


@pytest.mark.parametrize(
    ("k", "total", "is_exact", "with_vectors"),
    [(4096, 10**6, False, True), (10_000, 4096, False, True), (10_000, 10**6, True, False)],
)
def test_what_one_answer_holds_or_needs_no_vectors_is_given(k, total, is_exact, with_vectors):
    check_depth(LONG, SearchParams(k=k, with_vectors=with_vectors), 4096, total, is_exact)


@pytest.mark.parametrize(("is_exact", "with_vectors"), [(False, False), (True, True)])
def test_more_than_one_answer_holds_is_refused_with_what_there_may_be(is_exact, with_vectors):
    params = SearchParams(k=5000, with_vectors=with_vectors)
    with pytest.raises(TooLargeError, match="at most 4096 for vectors of 1024 values, got 5000"):
        check_depth(LONG, params, 4096, 4097, is_exact)
