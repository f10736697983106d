import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import kinety as kinety_package
from kinety.cli.main import kinety
from kinety.cni.network import check


def install(place: Path, *words: str, code: int = 0) -> Result:
    options = ["--bin-dir", str(place / "bin"), "--conf-dir", str(place / "conf")]
    done = CliRunner().invoke(kinety, ["cni", "install", *options, *words])
    assert done.exit_code == code, done.output
    return done


def network(place: Path, name: str = "kinety") -> dict[str, object]:
    found = json.loads((place / "conf" / f"10-{name}.conflist").read_text())
    assert isinstance(found, dict)
    return found


def test_it_writes_what_it_says_and_once(tmp_path: Path) -> None:
    said = install(tmp_path).output.splitlines()
    plugin, configuration = tmp_path / "bin/kinety-cni", tmp_path / "conf/10-kinety.conflist"
    assert said == [f"{plugin} written", f"{configuration} written"]
    times = plugin.stat().st_mtime_ns, configuration.stat().st_mtime_ns
    assert install(tmp_path).output.splitlines() == [f"{plugin} unchanged", f"{configuration} unchanged"]
    assert times == (plugin.stat().st_mtime_ns, configuration.stat().st_mtime_ns)
    assert sorted(os.listdir(tmp_path / "bin")) == ["kinety-cni"]
    assert (plugin.stat().st_mode & 0o777, configuration.stat().st_mode & 0o777) == (0o755, 0o644)


def test_the_plugin_runs_without_an_environment(tmp_path: Path) -> None:
    install(tmp_path)
    asked = {"CNI_COMMAND": "VERSION", "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"}
    done = subprocess.run(
        [tmp_path / "bin/kinety-cni"], env=asked, input=b"{}", capture_output=True, check=True
    )
    assert "1.1.0" in json.loads(done.stdout)["supportedVersions"]


def test_the_plugin_starts_with_few_modules() -> None:
    """Each of these takes longer to import than an attach takes the agent, or nearly."""
    packages = str(Path(kinety_package.__file__).parent.parent)
    program = f"import sys; sys.path.append({packages!r}); from kinety.cni.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-ISX", "importtime", "-c", program],
        env={"CNI_COMMAND": "VERSION"},
        input=b"{}",
        capture_output=True,
        text=False,
        check=True,
    )
    loaded = {line.rpartition(b"|")[2].strip().decode() for line in done.stderr.splitlines()}
    assert "kinety.cni.operation" in loaded
    slow = {"dataclasses", "typing", "http.client", "pathlib", "inspect", "urllib.parse", "site"}
    slow |= {"re", "enum", "json", "socket"}
    assert loaded & slow == set()
    assert {name for name in loaded if name.startswith("kinety.")} >= {"kinety.cni.main"}
    assert not {
        name for name in loaded if name.startswith(("kinety.model", "kinety.api.types", "kinety.cli"))
    }


def test_the_network_is_one_that_the_plugin_takes(tmp_path: Path) -> None:
    places = ["--bin-dir", str(tmp_path), "--conf-dir", str(tmp_path / "conf")]
    more = ["--name", "blue", "--state-dir", "/state"]
    done = CliRunner().invoke(kinety, ["--socket", "run/agent.sock", "cni", "install", *places, *more])
    assert done.exit_code == 0, done.output
    found = network(tmp_path, "blue")
    assert (found["name"], found["cniVersion"]) == ("blue", "1.0.0")
    (plugin,) = found["plugins"]  # type: ignore[misc]
    assert plugin["socket"] == str(Path("run/agent.sock").absolute())
    assert plugin["stateDir"] == "/state"
    check(plugin | {"name": "blue", "cniVersion": "1.0.0"})


def test_a_configuration_that_was_changed_stays(tmp_path: Path) -> None:
    install(tmp_path)
    configuration = tmp_path / "conf/10-kinety.conflist"
    changed = configuration.read_text().replace('"type"', '"mtu": 1400, "type"')
    configuration.write_text(changed)
    assert "says something else; give --force" in install(tmp_path, code=1).output
    assert configuration.read_text() == changed
    assert f"{configuration} replaced" in install(tmp_path, "--force").output
    assert configuration.read_text() != changed


def test_uninstalling_removes_both(tmp_path: Path) -> None:
    install(tmp_path)
    plugin, configuration = tmp_path / "bin/kinety-cni", tmp_path / "conf/10-kinety.conflist"
    said = install(tmp_path, "--uninstall").output.splitlines()
    assert said == [f"{configuration} removed", f"{plugin} removed"]
    assert not plugin.exists()
    assert not configuration.exists()
    again = install(tmp_path, "--uninstall").output.splitlines()
    assert again == [f"{configuration} was not there", f"{plugin} was not there"]


@pytest.mark.parametrize("name", ["../x", "a b", ""])
def test_a_network_is_called_as_cni_lets_it(tmp_path: Path, name: str) -> None:
    assert "is no name of a network" in install(tmp_path, "--name", name, code=1).output
    assert not (tmp_path / "bin").exists()
