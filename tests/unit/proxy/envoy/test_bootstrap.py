"""What Envoy is started with."""

import json
import subprocess
import sys
from pathlib import Path

from kinety.proxy.envoy.bootstrap import bootstrap, bootstrap_text
from kinety.proxy.envoy.settings import EnvoySettings

SETTINGS = EnvoySettings("envoy", Path("/somewhere/deep"))


def test_paths_are_relative_to_the_directory() -> None:
    text = bootstrap_text(SETTINGS)
    assert "/somewhere" not in text
    found = json.loads(text)
    assert found["admin"]["address"]["pipe"] == {"path": "admin/admin.sock", "mode": 0o600}
    assert (SETTINGS.directory / found["admin"]["address"]["pipe"]["path"]) == SETTINGS.admin


def test_connections_go_on_from_ports_that_clients_do_not_have() -> None:
    (_, original) = bootstrap(
        EnvoySettings("envoy", Path("a"), source_ports=(61000, 65535))
    ).static_resources.clusters
    (option,) = original.upstream_bind_config.socket_options
    assert (option.level, option.name, option.int_value) == (0, 51, 65535 << 16 | 61000)


def test_every_agent_gives_the_same_text() -> None:
    """An Envoy that was started with another is started anew."""
    asking = (
        "from pathlib import Path; from kinety.proxy.envoy.bootstrap import bootstrap_text as text;"
        "from kinety.proxy.envoy.settings import EnvoySettings;"
        f"print(text(EnvoySettings('envoy', Path({str(SETTINGS.directory)!r}))))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", asking],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(6)
    }
    assert said == {bootstrap_text(SETTINGS) + "\n"}


def test_the_same_settings_give_the_same_text() -> None:
    assert bootstrap_text(SETTINGS) == bootstrap_text(SETTINGS)
    assert bootstrap_text(SETTINGS) != bootstrap_text(EnvoySettings("envoy", Path("a"), max_connections=1))
