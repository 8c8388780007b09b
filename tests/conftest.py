"""What several test files share."""

from collections.abc import Iterator

import pytest

from fans.experiments import machine


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Numbers that do not depend on how many threads share a sum."""
    with machine.one_thread():
        yield
