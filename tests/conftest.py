"""The rules every test lives under: declared skips, and nothing left behind.

* A test says what it needs, ``@pytest.mark.needs("root", "tcx")``, and is skipped where the machine lacks it.
  ``KINETY_REQUIRE=all`` (or a list separated by commas) turns such a skip into a failure; CI sets it.
* No other way to skip exists: ``pytest.skip``, ``skipif`` and ``importorskip`` fail the run.
* A test that needs privileges is compared before and after: BPF and namespace file descriptors, processes,
  bpf file systems, labs and named namespaces it leaves behind are a failure of that test (``tests.leak``).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator

import pytest

from tests import feature, leak

DECLARED = pytest.StashKey[bool]()
REQUIRED = pytest.StashKey[frozenset[str]]()
PRIVILEGED = {"root", "bpf", "tcx", "netns", "bpffs", "nft"}


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what it runs in the background with SIGINT ignored, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        config.stash[REQUIRED] = feature.required(os.environ.get("KINETY_REQUIRE", ""))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def needs(item: pytest.Item) -> list[str]:
    """The features a test names, in the order it names them."""
    return [name for mark in item.iter_markers("needs") for name in mark.args]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if unknown := set(needs(item)) - feature.PROBES.keys():
            raise pytest.UsageError(f"{item.nodeid} needs unknown features: {', '.join(sorted(unknown))}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in needs(item):
        if reason := feature.missing(name):
            if name in item.config.stash[REQUIRED]:
                pytest.fail(f"KINETY_REQUIRE demands {name}: {reason}", pytrace=False)
            item.stash[DECLARED] = True
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and not item.stash.get(DECLARED, False):
        report.outcome = "failed"
        report.longrepr = f"skipped without @pytest.mark.needs: {call.excinfo and call.excinfo.value}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} is skipped as a whole; use @pytest.mark.needs on its tests"
    return report


@pytest.fixture(autouse=True, scope="session")
def nothing_left_by_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same for fixtures that several tests share: what is left when the last of them is gone."""
    leak.claim(tmp_path_factory.getbasetemp())
    before = leak.inventory()
    yield
    if left := leak.difference(before, leak.settled(before)):
        pytest.fail("the run leaves behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare what privileged tests can leak, before and after each of them."""
    if PRIVILEGED.isdisjoint(needs(request.node)):
        yield
        return
    before = leak.inventory()
    yield
    if left := leak.difference(before, leak.settled(before)):
        pytest.fail("the test leaves behind:\n  " + "\n  ".join(left), pytrace=False)
