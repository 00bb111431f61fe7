"""The small index of the tests of search, for the commands over it."""

from tests.search.conftest import small_corpora, small_index_folder  # noqa: F401
