"""``make demo``: the talk's policy on a throw-away node, with real packets, told step by step."""

import sys
import time
from pathlib import Path

from kinety.api.client import Client
from kinety.cli.output import amount, short_labels, table
from kinety.cli.test import result_table
from kinety.model.label import Labels
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_policies
from kinety.testing.lab import lab
from kinety.testing.live import deploy, probe_all
from kinety.testing.scenario import Scenario, parse_scenarios

EXAMPLE = Path("examples/star-wars")


def main() -> int:
    """Run the demo from the repository's root. 1 when a probe's outcome was not the expected one."""
    began = time.monotonic()
    title("The policy as the slide prints it")
    show_refusal()
    (scenario,) = parse_scenarios([document(EXAMPLE / "scenario.yaml")], read_policy)
    title("What selectors select")
    show_selection(scenario)
    with lab() as built:
        seconds = built.start_agent()
        namespaces = deploy(built, scenario)
        with built.client() as client:
            title("Identities: numbers for sets of labels")
            show_identities(client)
            title("In the kernel")
            show_loaded(client, seconds)
        title("Real packets, IPv4 and IPv6")
        results = list(probe_all(built, scenario, namespaces))
    print(result_table(results))
    wrong = sum(not result.ok for result in results)
    packets = sum(len(result.answers) for result in results)
    print(
        f"\n{len(results)} probes, {packets} times asked, {wrong} not as expected; "
        f"{time.monotonic() - began:.1f} s. Namespaces, agent and programs are gone again."
    )
    return 1 if wrong else 0


def title(text: str) -> None:
    """Begin a part."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", end="\n\n")


def document(path: Path) -> Document:
    """A file as a document."""
    return Document(str(path), path.read_text())


def read_policy(scenario: str, path: str) -> Document:
    """A policy that a scenario names, relative to it."""
    return document(Path(scenario).parent / path)


def show_refusal() -> None:
    """The slide's `toPorts` stands beside `ingress`; corrected, the policy is accepted."""
    try:
        parse_policies([document(EXAMPLE / "policy-as-printed.yaml")])
    except PolicyError as error:
        print(f"  refused  {error}")
    (policy,) = parse_policies([document(EXAMPLE / "policy.yaml")])
    print(f"  accepted {policy.rules[0].origin.file}: {policy.key}")


def show_selection(scenario: Scenario) -> None:
    """Two selectors of the slide and the endpoints they select."""
    rows = []
    for labels in ({"org": "empire"}, {"org": "empire", "class": "deathstar"}):
        selector = LabelSelector(
            tuple(Requirement("any", key, Operator.IN, (value,)) for key, value in labels.items())
        )
        selected = [each for each in scenario.endpoints if selector.matches(each.endpoint.labels)]
        shown = ", ".join(f"{key}: {value}" for key, value in labels.items())
        rows.append([shown, ", ".join(str(each) for each in selected)])
    print(table(["SELECTOR", "SELECTS"], rows))


def show_identities(client: Client) -> None:
    """Endpoints' identities with labels, as on the slide, and their classes."""
    rows = [
        [each.identity, labels_shown(each.labels), each.class_id, each.endpoints]
        for each in client.identities()
        if each.endpoints
    ]
    print(table(["IDENTITY", "LABELS", "CLASS", "ENDPOINTS"], rows))


def labels_shown(labels: Labels | tuple[str, ...]) -> str:
    """Labels in braces, as a set."""
    return "{" + short_labels([str(label) for label in labels]) + "}"


def show_loaded(client: Client, seconds: float) -> None:
    """Programs and maps, and how long it took."""
    status = client.status()
    print(f"  agent ready in {seconds:.2f} s\n")
    rows = [[p.name, p.verified_instructions, p.jited_bytes] for p in status.datapath.programs]
    print(table(["PROGRAM", "VERIFIED INSTRUCTIONS", "JITED BYTES"], rows), end="\n\n")
    maps = [[m.name, m.type, m.max_entries, amount(m.memory)] for m in client.maps()]
    print(table(["MAP", "TYPE", "MAX ENTRIES", "MEMORY"], maps))


if __name__ == "__main__":
    sys.exit(main())
