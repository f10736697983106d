"""Statements: what one rule says to one question."""

from dataclasses import dataclass

from kinety.testing.oracle.party import Party

#: Requests, DNS questions or server names that may pass, each a tuple that begins with its kind.
Content = frozenset[tuple[object, ...]]
#: First and last port, both included.
Span = tuple[int, int]
EVERY_PORT: Span = (0, 65535)


@dataclass(frozen=True, slots=True)
class Question:
    """What does the policy of ``subject`` say, ``ingress`` or ``egress``? ``port`` is the type for ICMP."""

    subject: Party
    direction: str
    peer: Party
    protocol: int
    port: int

    @property
    def owner(self) -> Party:
        """Who gives ports their names: whoever the traffic goes to."""
        return self.subject if self.direction == "ingress" else self.peer


@dataclass(frozen=True, slots=True)
class Statement:
    """A rule of a policy that selects the subject, in the question's direction.

    ``span`` is the range of ports by which it names the question's traffic; None: it does not, and
    at most isolates. A rule of the admin or the baseline tier has a ``place`` in it, lower first.
    """

    policy: str
    path: str
    action: str
    isolates: bool
    span: Span | None
    content: Content = frozenset()
    tier: str = "normal"
    place: tuple[object, ...] = ()

    @property
    def rule(self) -> tuple[str, str]:
        """The rule's name: policy and path."""
        return self.policy, self.path
