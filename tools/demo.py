"""``make demo``: the talk's policy on a throw-away node, with real packets, told step by step."""

import os
import signal
import sys
import time
from pathlib import Path

from kinety.api.client import Client
from kinety.cli.output import amount, short_labels, table
from kinety.cli.test import result_table
from kinety.model.label import PORT, Labels
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_policies
from kinety.testing.lab import lab
from kinety.testing.live import deploy, enforce, probe_all
from kinety.testing.parse import parse_scenarios
from kinety.testing.scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent
ENVOY = ROOT / "build/envoy/envoy/_bin/envoy"
EXAMPLE = "examples/star-wars"
INTERRUPTED, BROKEN_PIPE = 130, 141


def main() -> int:
    """Run the demo and return the exit status: 1 when a probe's outcome was not the expected one."""
    if os.geteuid() != 0:
        print("demo: it makes namespaces and loads programs: run it as root", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return demonstrate()
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # nothing is left to interrupt
        print("demo: interrupted; everything it made is gone", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Nothing more can be written; without this the interpreter complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def demonstrate() -> int:
    """Tell the story and return the exit status."""
    began = time.monotonic()
    title("The policy as the slide prints it, and with toPorts where it belongs")
    show_refusal()
    (scenario,) = parse_scenarios([document(f"{EXAMPLE}/scenario.yaml")], read_policy)
    with lab() as built:
        seconds = built.start_agent("--envoy", str(ENVOY))
        namespaces = deploy(built, scenario)
        with built.client() as client:
            title("Identities: numbers for sets of labels")
            show_identities(client)
            title("What selectors select")
            show_selection(client, scenario)
            title("In the kernel")
            show_loaded(client, seconds)
        title("Real packets, IPv4 and IPv6")
        results = list(probe_all(built, scenario, namespaces))
        print(result_table(results))
        title("The same door, and what is asked there: the policy looks into HTTP")
        looking, *_ = parse_scenarios([document(f"{EXAMPLE}/scenario-l7.yaml")], read_policy)
        enforce(built, looking)
        results_looking = list(probe_all(built, looking, namespaces))
        print(result_table(results_looking))
        with built.client() as client:
            show_proxies(client)
    results += results_looking
    wrong = sum(not result.ok for result in results)
    sent = sum(len(result.answers) for result in results)
    print(
        f"\n{len(results)} probes, {sent} sent, {wrong} not as expected; {time.monotonic() - began:.1f} s. "
        "Namespaces, agent and programs are gone again."
    )
    return 1 if wrong else 0


def title(text: str) -> None:
    """Begin a part."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", end="\n\n")


def document(path: str) -> Document:
    """A file of the project as a document, whatever the current directory is."""
    return Document(path, (ROOT / path).read_text())


def read_policy(scenario: str, path: str) -> Document:
    """A policy that a scenario names, relative to it."""
    return document(str(Path(scenario).parent / path))


def show_refusal() -> None:
    """The slide's `toPorts` stands beside `ingress`; corrected, the policy is accepted."""
    try:
        parse_policies([document(f"{EXAMPLE}/policy-as-printed.yaml")])
    except PolicyError as error:
        print(f"refused   {error}")
    (policy,) = parse_policies([document(f"{EXAMPLE}/policy.yaml")])
    print(f"accepted  {policy.rules[0].origin.file}: {policy.key}")


def show_identities(client: Client) -> None:
    """Endpoints' identities with labels, as on the slide, and their classes."""
    owners = {each.identity: each.name for each in client.endpoints()}
    rows = [
        [each.identity, labels_shown(each.labels), each.class_id, owners[each.identity]]
        for each in client.identities()
        if each.endpoints
    ]
    print(table(["IDENTITY", "LABELS", "CLASS", "ENDPOINT"], rows))


def labels_shown(labels: Labels | tuple[str, ...]) -> str:
    """Labels in braces, as a set; not those that tell of named ports."""
    texts = [text for text in map(str, labels) if not text.startswith(f"{PORT}:")]
    return "{" + short_labels(texts) + "}"


def show_selection(client: Client, scenario: Scenario) -> None:
    """Two selectors of the slide, the endpoints they select, and those endpoints' identities."""
    identities = {each.name: each.identity for each in client.endpoints()}
    rows = []
    for labels in ({"org": "empire"}, {"org": "empire", "class": "deathstar"}):
        selector = LabelSelector(
            tuple(Requirement("any", key, Operator.IN, (value,)) for key, value in labels.items())
        )
        selected = [each for each in scenario.endpoints if selector.matches(each.endpoint.labels)]
        shown = ", ".join(f"{key}: {value}" for key, value in labels.items())
        numbers = ", ".join(str(identities[each.endpoint.name]) for each in selected)
        rows.append([shown, ", ".join(map(str, selected)), numbers])
    print(table(["SELECTOR", "SELECTS", "IDENTITIES"], rows))


def show_loaded(client: Client, seconds: float) -> None:
    """Programs and maps, and how long it took."""
    datapath = client.status().datapath
    print(
        f"agent ready in {seconds:.2f} s, of it {datapath.load_seconds:.2f} s to verify and load; "
        f"endpoints: {datapath.endpoints_ready}, rule sets: {datapath.rule_sets}\n"
    )
    rows = [[p.name, p.verified_instructions, p.jited_bytes] for p in datapath.programs]
    print(table(["PROGRAM", "VERIFIED INSTRUCTIONS", "JITED BYTES"], rows), end="\n\n")
    maps = [[m.name, m.type, m.max_entries, amount(m.memory)] for m in client.maps()]
    print(table(["MAP", "TYPE", "MAX ENTRIES", "MEMORY"], maps))


def show_proxies(client: Client) -> None:
    """The proxy that looked, and what it made of the requests."""
    found = client.proxies()
    rows = [
        [each.port, ", ".join(each.policies), "; ".join(each.rules), each.requests, each.denied]
        for each in found.listeners
    ]
    print("\n" + table(["LISTENER", "POLICIES", "RULES", "REQUESTS", "DENIED"], rows))


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.exit(main())
