"""Files of /etc: what is in them, and that nobody else sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kinety.runner import etc

NODES = """# the node's
domain example.org
nameserver 127.0.0.53
search example.org example.com
options edns0 trust-ad
nameservers are few
"""


def test_name_servers_are_replaced_and_the_rest_is_the_nodes() -> None:
    assert etc.resolv_conf(NODES, ["10.0.0.53", "fd00::53"]) == (
        "nameserver 10.0.0.53\nnameserver fd00::53\n"
        "domain example.org\nsearch example.org example.com\noptions edns0 trust-ad\n"
    )
    assert etc.resolv_conf("", ["10.0.0.53"]) == "nameserver 10.0.0.53\n"


def test_search_domains_are_replaced_all_together() -> None:
    assert etc.resolv_conf(NODES, [], ["example.net", "example.com"]) == (
        "search example.net example.com\nnameserver 127.0.0.53\noptions edns0 trust-ad\n"
    )
    assert etc.resolv_conf("domain x\n", ["fd00::53"], ["y"]) == "nameserver fd00::53\nsearch y\n"


def test_a_name_comes_before_what_the_node_says_of_it() -> None:
    said = etc.hosts("127.0.0.1 localhost web\n", "web", ["10.0.0.1", "fd00::1"])
    assert said == "10.0.0.1 web\nfd00::1 web\n127.0.0.1 localhost web\n"


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert etc.text_of(tmp_path / "hosts") == ""


def replaced(path: Path, then: str) -> subprocess.CompletedProcess[str]:
    """Replace a file in another process, which then does something."""
    program = f"""
from pathlib import Path
from kinety.runner import etc
path = Path({str(path)!r})
etc.replace({{path: "own"}})
{then}
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.needs("root")
def test_only_the_process_sees_its_file(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("node's")
    done = replaced(
        path, "print(path.read_text(), oct(path.stat().st_mode & 0o777)); path.write_text('mine')"
    )
    assert (done.stdout, done.stderr) == ("own 0o644\n", "")
    assert path.read_text() == "node's"
    assert str(path) not in Path("/proc/self/mounts").read_text()


@pytest.mark.needs("root")
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "stub").write_text("node's")
    (tmp_path / "resolv.conf").symlink_to("stub")
    assert replaced(tmp_path / "resolv.conf", "print(path.read_text())").stdout == "own\n"
    assert (tmp_path / "stub").read_text() == "node's"


@pytest.mark.needs("root")
def test_where_there_is_no_file_the_error_says_what_to_do(tmp_path: Path) -> None:
    done = replaced(tmp_path / "resolv.conf", "")
    assert f"{tmp_path}/resolv.conf cannot be replaced where there is none: make an empty one" in done.stderr
