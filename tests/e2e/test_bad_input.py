"""Bad input to a running agent: one clear line, status 1, and nothing is different afterwards."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.real_node import EMPIRE_ONLY, Node

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

GOOD = EMPIRE_ONLY.replace("rule1", "another")


def rule(text: str) -> bytes:
    """A policy with one ingress rule."""
    return GOOD.replace("- fromEndpoints: [{matchLabels: {org: empire}}]", f"- {text}").encode()


def bomb() -> bytes:
    """Ten lines of aliases that stand for nine to the tenth values."""
    lines = ["a: &a [" + ", ".join("x" * 9) + "]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
        for before, name in zip("abcdefghi", "bcdefghij", strict=True)
    ]
    return "\n".join(lines).encode()


BAD: dict[str, tuple[bytes, str]] = {
    "malformed": (b"kind: [", ":1: not YAML"),
    "unknown field": (GOOD.replace("ingress:", "ingres:").encode(), "unknown field 'ingres'"),
    "unknown version": (GOOD.replace("cilium.io/v2", "cilium.io/v9").encode(), "apiVersion"),
    "unknown kind": (GOOD.replace("CiliumNetworkPolicy", "CiliumPolicy").encode(), "kind"),
    "port too high": (rule('toPorts: [{ports: [{port: "70000"}]}]'), "there is no port 70000"),
    "port below zero": (rule('toPorts: [{ports: [{port: "-1"}]}]'), "-1"),
    "port range": (rule('toPorts: [{ports: [{port: "80", endPort: 70}]}]'), "endPort 70 is below port 80"),
    "protocol": (rule('toPorts: [{ports: [{port: "80", protocol: XTP}]}]'), "XTP"),
    "except beside its CIDR": (
        rule("fromCIDRSet: [{cidr: 10.0.0.0/8, except: [192.168.0.0/16]}]"),
        "192.168.0.0/16 is not inside 10.0.0.0/8",
    ),
    "except around its CIDR": (
        rule('fromCIDRSet: [{cidr: "fd00:1::/32", except: ["fd00::/16"]}]'),
        "fd00::/16 is not inside fd00:1::/32",
    ),
    "no address": (rule("fromCIDR: [10.0.0.300/8]"), "10.0.0.300/8"),
    "no entity": (rule("fromEntities: [wolrd]"), "wolrd"),
    "not enforced": (
        rule(
            'toPorts: [{ports: [{port: "80", protocol: TCP}],'
            " rules: {http: [{headerMatches: [{name: a, secret: {name: b}}]}]}}]"
        ),
        "not enforced yet",
    ),
    "key given twice": (GOOD.replace("spec:", "kind: X\nspec:").encode(), "given twice"),
    "policy given twice": (f"{GOOD}---{GOOD}".encode(), "given twice"),
    "10 MB": (b"#" * 10_000_000, "more than 4 MiB"),
    "binary": (b"\x7fELF\x02\x01\x01\0\0\0", "not a text file"),
    "not UTF-8": (GOOD.replace("empire", "empir\xe9").encode("latin-1"), "is not UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), "not a text file"),
    "empty": (b"", "there is no policy in it"),
    "only a comment": (b"# nothing\n---\n", "there is no policy in it"),
    "bomb of aliases": (bomb(), "more than 500000 values"),
    "alias to itself": (b"a: &a [*a]", "a"),
    "deep nesting": (b"[" * 100_000, "nested deeper than 64"),
    "deep JSON": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested deeper than 64"),
    "text": (b"hello", "expected a policy"),
    "number": (b"42", "expected a policy"),
    "control characters": (GOOD.replace("empire", "em\x1bpire").encode(), ":"),
}


@pytest.fixture(scope="module")
def held(shared: Node) -> dict[str, object]:
    """What is in force before any of the bad input."""
    return shared.settled()


def refused(node: Node, held: dict[str, object], *words: str, stdin: bytes | None = None) -> str:
    """The one line that a refused ``policy apply`` prints; nothing has changed."""
    done = node.run("policy", "apply", *words, stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr[:2000]
    assert done.stderr.startswith("kinety: ")
    assert done.stderr[:-1].isprintable()
    assert len(done.stderr) < 500
    assert node.held() == held
    return done.stderr


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file(shared: Node, held: dict[str, object], tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    file = tmp_path / "policy.yaml"
    file.write_bytes(text)
    line = refused(shared, held, str(file))
    assert message in line
    assert str(file) in line


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_bad_document_among_good_ones(
    shared: Node, held: dict[str, object], order: tuple[int, int]
) -> None:
    documents = (GOOD, BAD["unknown field"][0].decode().replace("another", "third"))
    line = refused(shared, held, "-", stdin="---".join(documents[index] for index in order).encode())
    assert "unknown field 'ingres'" in line
    assert ("<stdin>:7:", "<stdin>:15:")[order.index(1)] in line


@pytest.mark.parametrize("bad", ["a.yaml", "c.yaml"])
def test_one_bad_file_among_good_ones(
    shared: Node, held: dict[str, object], tmp_path: Path, bad: str
) -> None:
    for index, name in enumerate(("a.yaml", "b.yml", "c.yaml")):
        text = BAD["unknown field"][0] if name == bad else GOOD.replace("another", f"n{index}").encode()
        (tmp_path / name).write_bytes(text)
    assert f"{tmp_path}/{bad}:7:" in refused(shared, held, str(tmp_path))


def test_the_same_policy_in_two_files(shared: Node, held: dict[str, object], tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(GOOD)
    assert "more than once" in refused(shared, held, str(tmp_path))


def absent(directory: Path) -> Path:
    return directory / "absent.yaml"


def empty_directory(directory: Path) -> Path:
    return directory


def hanging_link(directory: Path) -> Path:
    link = directory / "link.yaml"
    link.symlink_to(directory / "absent")
    return link


def device(directory: Path) -> Path:
    return Path("/dev/zero")


def too_long(directory: Path) -> Path:
    return directory / ("x" * 300)


@pytest.mark.parametrize("make", [absent, empty_directory, hanging_link, device, too_long])
def test_what_is_no_file(
    shared: Node, held: dict[str, object], tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    assert str(path) in refused(shared, held, str(path))


def test_a_pipe_is_read_to_its_end(shared: Node, held: dict[str, object], tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(b"kind: [",))
    writer.start()
    try:
        assert f"{fifo}:1: not YAML" in refused(shared, held, str(fifo))
    finally:
        writer.join(10)


BAD_ENDPOINTS = [
    (("--label", "reserved:host"), "workloads cannot set"),
    (("--label", "reserved:world=x"), "workloads cannot set"),
    (("--label", "cidr:10.0.0.0/8"), "workloads cannot set"),
    (("--label", "io.kubernetes.pod.namespace=kube-system"), "the endpoint's namespace sets it"),
    (("--label", "=x"), "has no key"),
    (("--label", "org=empire class=deathstar"), "has a space in it"),
    (("--label", "org=a", "--label", "org=b"), "given with two values"),
    (("--label", "x" * 400), "too long"),
    (("--namespace-label", "=x"), "namespace label"),
    (("--address", "224.0.0.1"), "cannot be"),
    (("--address", "ff02::1"), "cannot be"),
    (("--address", "::1"), "cannot be"),
    (("--address", "fe80::1"), "cannot be"),
    (("--address", "::ffff:10.1.1.1"), "cannot be"),
    (("--address", "10.240.0.1"), "is in use"),
    (("--address", "10.0.0.0/8"), "is no IP address"),
    (("--address", "10.1.1.1", "--address", "10.1.1.2"), "more than one IPv4"),
    (("--interface", "lo"), "has an interface lo already"),
    (("--interface", "much-too-long-a-name"), "no name of an interface"),
    (("--namespace", "../x"), "is no name"),
]


@pytest.fixture(scope="module")
def candidate(shared: Node) -> str:
    """A network namespace that is not attached."""
    return shared.bare_workload("candidate").name


@pytest.mark.parametrize(
    ("words", "message"), BAD_ENDPOINTS, ids=[" ".join(w)[:40] for w, _ in BAD_ENDPOINTS]
)
def test_a_bad_endpoint(
    shared: Node, held: dict[str, object], candidate: str, words: tuple[str, ...], message: str
) -> None:
    done = shared.run("endpoint", "attach", "--netns", candidate, "--name", "x", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert message in done.stderr
    assert "Errno" not in done.stderr
    now = shared.held()
    # An interface may have been made and taken away again: that was written, and nothing of it is left.
    assert now | {"writes": 0, "node_state": 0} == held | {"writes": 0, "node_state": 0}


def test_a_refused_endpoint_gives_its_addresses_back(shared: Node, candidate: str) -> None:
    before = shared.json("status")["pools"]
    for _ in range(3):
        assert shared.run(
            "endpoint", "attach", "--netns", candidate, "--name", "x", "--interface", "lo"
        ).returncode
    assert shared.json("status")["pools"] == before
