"""What of ``kinety run`` is refused before anything runs; the rest is in tests/e2e."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from kinety.api.types import Bandwidth
from kinety.cli import run as verb
from kinety.cli.endpoint_options import endpoint_request
from kinety.cli.main import kinety


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing argument 'COMMAND...'"),
        (("--dns", "ns.example.org", "--", "true"), "--dns 'ns.example.org' is no IP address"),
        (
            ("--dns", "::1") * 2 + ("--dns", "::2") * 2 + ("true",),
            "4 name servers are given, and 3 are asked",
        ),
        (("--user", "nobody-at-all", "true"), "there is no user 'nobody-at-all'"),
        (("--hosts", "--name", "x" * 65, "true"), "is too long for a host's name"),
        (("--name", "a/b", "--namespace", "c", "true"), "names the namespace 'a', and --namespace says 'c'"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(words: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(kinety, ["run", *words])
    assert done.exit_code == 2
    assert message in done.stderr


def test_options_after_the_command_are_the_commands() -> None:
    context = verb.run.make_context("run", ["--label", "a", "curl", "--dns", "x", "--", "-v"])
    assert context.params["command"] == ("curl", "--dns", "x", "--", "-v")
    assert context.params["labels"] == ("a",)
    assert context.params["dns"] == ()


@pytest.mark.parametrize(
    ("command", "stem"),
    [("/usr/bin/python3.11", "python3.11"), ("./my server", "my-server"), ("/", "command"), ("-_x_-", "x")],
)
def test_a_command_has_a_name_of_its_own_each_time(command: str, stem: str) -> None:
    first, second = (verb._name_for(command) for _ in range(2))
    assert first != second
    assert re.fullmatch(re.escape(stem) + "-[0-9a-f]{8}", first)


def test_the_longest_name_is_a_hosts_name() -> None:
    assert len(verb._name_for("x" * 300)) <= 64


def test_the_request_is_for_no_place_yet() -> None:
    options = endpoint_request(
        "prod/x",
        namespace=None,
        labels=("a",),
        namespace_labels=("env=prod",),
        port_names=(),
        host_ports=("8080:80/tcp",),
        interface="eth0",
        addresses=(),
        mac=None,
        egress_rate=0,
        egress_burst=0,
        ingress_rate=10_000_000,
        ingress_burst=0,
        mtu=None,
    )
    assert (options.namespace, options.name, options.netns, options.pid) == ("prod", "x", None, None)
    assert options.namespace_labels == {"env": "prod"}
    assert options.host_ports == ("8080:80/tcp",)
    assert options.bandwidth == Bandwidth(ingress_rate=10_000_000)
