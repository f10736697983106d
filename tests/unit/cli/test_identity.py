import json
from collections.abc import Callable

from click.testing import Result

Run = Callable[..., Result]


def test_list(run: Run) -> None:
    head, host, empire = run("identity", "list").stdout.splitlines()
    assert head.split() == ["IDENTITY", "CLASS", "ENDPOINTS", "LABELS"]
    assert host.split() == ["1", "1", "0", "reserved:host"]
    assert empire.split() == ["256", "2", "3", "org=empire"]


def test_programs_get_every_label(run: Run) -> None:
    value = json.loads(run("identity", "list", "-o", "json").stdout)
    assert value[1]["labels"] == ["k8s:io.kubernetes.pod.namespace=default", "k8s:org=empire"]
