import subprocess
import sys

import pytest

from kinety.agent.option_value import RUNTIMES
from kinety.agent.runtime_kind import _KINDS, runtime


def test_every_kind_that_can_be_asked_for_can_be_made() -> None:
    assert _KINDS.keys() == RUNTIMES.keys()


@pytest.mark.parametrize("kind", RUNTIMES)
def test_a_runtime_is_made_of_its_kind(kind: str) -> None:
    made = runtime(kind, "/run/nobody.sock")
    assert (made.name, made.address) == (kind, "/run/nobody.sock")
    assert made.problem is not None


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpclib.client", None)
    for module in ("kinety.source.containerd", "kinety.source.containerd_api"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ValueError, match=r"needs the library .*install kinety\[containerd\]"):
        runtime("containerd", "/run/nobody.sock")


def test_an_agent_without_runtimes_loads_no_library_of_theirs() -> None:
    script = "import kinety.agent.supervisor, sys; print('grpclib' in sys.modules, 'h2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
