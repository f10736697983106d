"""What documents declare and the agent keeps: policies, and what they refer to, with its place in a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kinety.model.invariant import Invariant
from kinety.model.reference import CidrGroup, Service
from kinety.model.rule import Mode, Policy, PolicyKey
from kinety.plan.fact import (
    CidrGroupRemoved,
    CidrGroupUpserted,
    Fact,
    PolicyRemoved,
    PolicyUpserted,
    ServiceRemoved,
    ServiceUpserted,
)
from kinety.policy import cidr_group, invariant, service
from kinety.policy.document import Document
from kinety.policy.error import Finding, PolicyError
from kinety.policy.gate import refuse_unenforced
from kinety.policy.parse import parse_objects

Declared = Policy | CidrGroup | Service | Invariant


@dataclass(frozen=True, slots=True)
class Declaration:
    """One object of a document; ``line`` is where it begins in the file."""

    what: Declared
    file: str
    line: int

    @property
    def rules(self) -> int | None:
        """How many rules it is; None for what policies refer to."""
        return len(self.what.rules) if isinstance(self.what, Policy) else None

    @property
    def mode(self) -> Mode:
        """Whether it is in force; what policies refer to always is."""
        return self.what.mode if isinstance(self.what, Policy) else Mode.ENFORCED

    @property
    def fact(self) -> Fact | None:
        """What to tell the engine; None for an invariant, which changes nothing and must hold."""
        match self.what:
            case Policy():
                return PolicyUpserted(self.what)
            case CidrGroup():
                return CidrGroupUpserted(self.what)
            case Service():
                return ServiceUpserted(self.what)
            case Invariant():
                return None


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A file's text and what it declares."""

    file: str
    text: str
    declarations: Mapping[PolicyKey, Declaration]

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies among it."""
        return tuple(each.what for each in self.declarations.values() if isinstance(each.what, Policy))

    def only(self, keys: Iterable[PolicyKey]) -> "ParsedFile":
        """The file as far as it declares these."""
        wanted = set(keys)
        kept = {key: each for key, each in self.declarations.items() if key in wanted}
        return ParsedFile(self.file, self.text, kept)


def parsed(file: str, text: str) -> ParsedFile:
    """A file as it is read. Raises PolicyError, also for what nobody can apply."""
    objects = parse_objects([Document(file, text)])
    found: dict[PolicyKey, Declaration] = {}
    for key, each in objects.by_key.items():
        line = objects.lines[key]
        if not isinstance(each, Declared):
            message = f"a file to apply holds policies and what they refer to, not the kind {key.kind}"
            raise PolicyError([Finding(file, line, 0, "", message, "check it without an agent")])
        found[key] = Declaration(each, file, line)
    return ParsedFile(file, text, found)


def parsed_to_apply(file: str, text: str) -> ParsedFile:
    """A file as it is read, if all it asks for can be carried out. Raises PolicyError."""
    found = parsed(file, text)
    refuse_unenforced(found.policies)
    return found


def removal(key: PolicyKey) -> Fact | None:
    """What to tell the engine when a declaration is taken back, if anything."""
    match key.kind:
        case invariant.KIND:
            return None
        case cidr_group.KIND:
            return CidrGroupRemoved(key.name)
        case service.KIND:
            return ServiceRemoved(key.namespace, key.name)
        case _:
            return PolicyRemoved(key)


def invariants(declarations: Mapping[PolicyKey, Declaration]) -> dict[PolicyKey, Invariant]:
    """Those of the declared objects that are invariants."""
    return {key: each.what for key, each in declarations.items() if isinstance(each.what, Invariant)}
