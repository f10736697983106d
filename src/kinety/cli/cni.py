"""``kinety cni``: make Kinety the network of container runtimes."""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

import click

import kinety
from kinety.api.types import DEFAULT_SOCKET
from kinety.cli.launcher import launcher

_PLUGIN = "kinety-cni"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
#: Runtimes of today speak 1.0; those that know `cniVersions` take the highest.
_VERSIONS = ("1.0.0", "1.1.0")
#: What runtimes may pass on. The plugin refuses `ipRanges`: unsaid, they would be lost silently.
_CAPABILITIES = (
    *("ips", "dns", "labels", "io.kubernetes.cri.pod-annotations"),
    *("portMappings", "bandwidth", "mac", "ipRanges"),
)


@click.group()
def cni() -> None:
    """Make Kinety the network of container runtimes."""


@cni.command()
@click.option(
    "--bin-dir",
    type=click.Path(path_type=Path),
    default="/opt/cni/bin",
    show_default=True,
    metavar="DIR",
    help="Where runtimes look for plugins.",
)
@click.option(
    "--conf-dir",
    type=click.Path(path_type=Path),
    default="/etc/cni/net.d",
    show_default=True,
    metavar="DIR",
    help="Where they look for networks.",
)
@click.option(
    "--name", default="kinety", show_default=True, help="What the network is called.", metavar="NAME"
)
@click.option("--state-dir", metavar="DIR", help="The agent's, where it has another than the default.")
@click.option("--force", is_flag=True, help="Replace a configuration that says something else.")
@click.option("--uninstall", is_flag=True, help="Remove plugin and configuration.")
def install(
    bin_dir: Path, conf_dir: Path, name: str, state_dir: str | None, force: bool, uninstall: bool
) -> None:
    """Write the plugin and a network configuration for container runtimes.

    The agent's socket is the one given to kinety, if any (kinety --socket PATH cni install).
    """
    if not _NAME.match(name):
        raise click.ClickException(f"{name!r} is no name of a network: letters, digits, '_', '.' and '-'")
    plugin, configuration = bin_dir / _PLUGIN, conf_dir / f"10-{name}.conflist"
    if uninstall:
        for path in (configuration, plugin):
            there = path.exists()
            path.unlink(missing_ok=True)
            click.echo(f"{path} {'removed' if there else 'was not there'}")
        return
    socket = click.get_current_context().find_root().params.get("socket") or os.environ.get("KINETY_SOCKET")
    text = _configuration(name, socket, state_dir)
    if not force and configuration.exists() and configuration.read_text(encoding="utf-8") != text:
        raise click.ClickException(
            f"{configuration} is there and says something else; give --force to replace it"
        )
    packages = str(Path(kinety.__file__).resolve().parent.parent)
    text_of_plugin = launcher(os.path.realpath(sys.executable), packages, Path(socket or DEFAULT_SOCKET))
    _write(plugin, text_of_plugin, 0o755)
    _write(configuration, text, 0o644)


def _configuration(name: str, socket: str | None, state_dir: str | None) -> str:
    own = {"socket": socket if socket != DEFAULT_SOCKET else None, "stateDir": state_dir}
    plugin = {
        "type": _PLUGIN,
        "capabilities": dict.fromkeys(_CAPABILITIES, True),
        **{key: os.path.abspath(value) for key, value in own.items() if value},
    }
    network = {"cniVersion": _VERSIONS[0], "cniVersions": _VERSIONS, "name": name, "plugins": [plugin]}
    return json.dumps(network, indent=2) + "\n"


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all, and say what has become of it. Raises OSError."""
    there = path.exists()
    if there and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
        click.echo(f"{path} unchanged")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Runtimes read a directory's *.conf, *.conflist and *.json only.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
    click.echo(f"{path} {'replaced' if there else 'written'}")
