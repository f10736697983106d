"""Two kernels to choose from: this machine's, and the fake, which keeps the same contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kinety.testing.fake.kernel import FakeKernel

REAL = pytest.param("real", marks=pytest.mark.needs("root", "bpf"))

REAL_TCX = pytest.param("real", marks=pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs"))


@pytest.fixture(params=[REAL, "fake"])
def either_kernel(request: pytest.FixtureRequest) -> Iterator[FakeKernel | None]:
    """Maps of the real kernel (None) and, in a second run of the test, of the fake one."""
    if request.param == "real":
        yield None
        return
    with FakeKernel().installed() as fake:
        yield fake
