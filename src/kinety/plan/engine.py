"""The engine: facts in, plan out.

A batch of facts is taken as one step. Numbers, selectors and classes that are new are made first, so
that everything old still means the same; then the tables; then endpoints flip; what nobody needs any
more goes last. That is also the order of the fields of a Change, and at every point between two
fields each endpoint has either its old verdict for a peer or its new one (tests/unit/plan holds it).

An endpoint is in a change exactly when the rules that select it changed, or its identity. Classes
and rows come and go without: new rows are copies, and rows that go belong to nobody.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from pyroaring import BitMap

from kinety.identity.journal import Journal
from kinety.identity.named_prefix import Outside
from kinety.identity.registry import IdentityHints, Registry
from kinety.model.endpoint import HOST as HOST_ENDPOINT
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.identity import ClassId, Identity, ReservedIdentity
from kinety.model.label import Labels
from kinety.model.layer7 import Layer7, Layer7Id
from kinety.model.rule import Direction, Policy, PolicyKey, Rule, RuleId
from kinety.model.selector import LabelSelector
from kinety.model.verdict import Verdict
from kinety.plan.change import Capacity, CapacityError, Change, EndpointPlan, Snapshot
from kinety.plan.conflict import refuse_conflicts
from kinety.plan.fact import Fact
from kinety.plan.ipcache import Ipcache, Source
from kinety.plan.live_blocks import LiveBlocks
from kinety.plan.lookup import judge, judge_afresh
from kinety.plan.news import News, fold
from kinety.plan.peers import Peers
from kinety.plan.roster import HOST, Roster, Stale
from kinety.plan.rule_book import ALLOW_LOCALHOST, Numbered, RuleBook, name_of
from kinety.plan.statistics import EngineStatistics
from kinety.plan.subject import Flip, Subject, directed, shadowing
from kinety.plan.table import Table, TableCache, rule_set

_T = TypeVar("_T")
_DEFAULT_CAPACITY = Capacity()
_NO_HINTS: Mapping[Any, Any] = MappingProxyType({})


class _Made(NamedTuple):
    """A change half-way: endpoints that moved and that are gone, tables and classes that were given."""

    moved: set[EndpointId]
    removed: set[EndpointId]
    flips: list[Flip]
    left: list[Table]
    placed: Mapping[Identity, ClassId]


class Engine:
    """The plan of one node, kept up to date. Everything it returns is a value of the caller's own."""

    def __init__(
        self,
        capacity: Capacity = _DEFAULT_CAPACITY,
        *,
        allow_localhost: bool = True,
        identities: Mapping[Labels, int] = _NO_HINTS,
        outside: Mapping[Outside, int] = _NO_HINTS,
        classes: Mapping[Identity, ClassId] = _NO_HINTS,
        rules: Mapping[str, int] = _NO_HINTS,
    ) -> None:
        """An engine that knows nothing yet.

        ``allow_localhost``: the node may reach its own endpoints unless a rule denies it. The four
        mappings are numbers of a former run (what its changes said to remember; ``classes`` is what
        the kernel holds). They are kept where they fit, when the first change says all that is known.
        Raises CapacityError when there is no room even for the option.
        """
        self._capacity = capacity
        self._journal = Journal()
        self._registry = Registry(self._journal, IdentityHints(identities, outside, classes))
        self._book = RuleBook(self._journal, capacity.rules - 1, rules)
        self._tables = TableCache(self._journal, self._registry)
        self._ipcache = Ipcache(self._journal)
        self._blocks = LiveBlocks(self._journal, self._registry)
        self._roster = Roster(self._journal, self._registry, self._book, self._blocks)
        self._peers = Peers(self._journal, self._registry, self._ipcache, self._blocks, self._book.directory)
        self._option = self._book.option(ALLOW_LOCALHOST) if allow_localhost else None
        self._journal.commit()
        self._unsaid = (dict(self._book.changed), dict(self._book.named))
        self._check_numbers()

    # Changing

    def change(self, facts: Iterable[Fact] = ()) -> Change:
        """Take a batch of facts as one step; all of it, or nothing when it raises.

        Facts about things that are already so change nothing. A batch without facts only merges
        classes that former changes left behind; see ``unsettled``. Raises CapacityError when a map
        would overflow, PolicyError for policies that conflict with what is in force, ValueError for a
        fact that cannot be.
        """
        with self.step(facts) as change:
            return change

    @contextmanager
    def step(self, facts: Iterable[Fact] = (), *, in_force: bool = False) -> Iterator[Change]:
        """``change``, but it only counts when the ``with`` block ends well.

        When the block raises, everything is as it was before, numbers included. The engine must not
        be changed inside the block. ``in_force``: the policies were in force already, in a former run;
        where some of them conflict, traffic is denied as it was, and nothing is raised.
        """
        news = self._begin(facts)
        try:
            yield self._break(self._make(news, in_force))
        except BaseException:
            self._journal.rollback()
            self._registry.rolled_back()
            raise
        self._journal.commit()
        self._tables.begin()  # what was made is the caller's now
        self._unsaid = ({}, {})

    def rehearse(self, facts: Iterable[Fact], look: Callable[[Sequence[Flip]], _T]) -> _T:
        """What ``look`` answers half-way through a change that is then taken back.

        It is called when everything new is made and nothing old is gone: both tables of every subject
        that would get others are there, filled for every class that either tells apart. Raises what the
        change raises until then, and what ``look`` raises.
        """
        news = self._begin(facts)
        try:
            return look(self._make(news, False).flips)
        finally:
            self._journal.rollback()
            self._registry.rolled_back()
            self._tables.begin()

    @property
    def unsettled(self) -> bool:
        """Whether a change without facts would save something."""
        return self._registry.unsettled or self._blocks.unsettled

    def _begin(self, facts: Iterable[Fact]) -> News:
        news = fold(facts)
        self._registry.begin()
        self._book.begin()
        self._tables.begin()
        self._ipcache.begin()
        self._roster.begin()
        self._peers.begin()
        return news

    def _make(self, news: News, in_force: bool) -> _Made:
        """Make all that is new. Everything old still means the same."""
        self._update_names(news)
        relabelled = news.node is not None and self._registry.relabel_host(news.node)
        stale = self._update_policies(news.policies)
        self._roster.update_host(news.node, news.node_audit, stale)
        moved, removed = self._roster.update(news.endpoints, stale)
        if relabelled:  # the node is somebody else to them, under the number that their flows remember
            moved |= self.endpoints.keys()
        flips, left = self._update_tables(stale)
        self._blocks.settle()
        moved |= self._roster.settle()
        self._peers.settle()
        self._registry.settle()
        placed = self._registry.classes.moved()
        self._tables.settle()
        if not in_force:
            refuse_conflicts(self._tables.conflicts, self._book)
        return _Made(moved, removed, flips, left, placed)

    def _break(self, made: _Made) -> Change:
        """End all that nobody needs any more, and say what the whole change was."""
        for prefix, identity in self._registry.prefixes_added.items():
            self._ipcache.say(Source.POLICY, prefix, identity)
        for address, who in self._registry.named_moved.items():
            self._ipcache.tell(Source.NAME, address, who)
        self._check_numbers()
        peak_tables = len(self._tables)
        for table in made.left:
            self._tables.release(table)
        self._tables.retire()
        self._blocks.retire()
        self._registry.retire()
        self._tables.forget(self._registry.classes.dropped)
        self._ipcache.unsay(Source.POLICY, self._registry.prefixes_removed)
        self._ipcache.settle()
        self._book.retire()
        moved = made.moved.union(*(flip.subject.endpoints for flip in made.flips))
        host_moved = self._roster.host_moved or any(flip.subject.identity == HOST for flip in made.flips)
        change = self._describe(moved, made.removed, made.placed)
        if host_moved:
            change = replace(change, host=self._roster.host_plan())
        self._check_capacity(change, peak_tables)
        return change

    def _update_names(self, news: News) -> None:
        """What addresses are called and by whom, and what rules name."""
        directory = self._book.directory
        for name, group in news.groups.items():
            directory.put_group(name, group)
        for service_name, service in news.services.items():
            directory.put_service(service_name, service)
        for key, endpoint in news.endpoints.items():
            directory.put_ports(_listens(self.endpoints.get(key)), _listens(endpoint))
        if news.hosts is not None:
            self._ipcache.say_hosts(news.hosts)
        for prefix, labels in news.peers.items():
            self._peers.put(prefix, labels)
        for prefix, names in news.names.items():
            self._registry.learn_names(prefix, names)

    def _update_policies(self, policies: Mapping[PolicyKey, Policy | None]) -> Stale:
        """Take policies in and out of force. Returns the subjects whose rules changed."""
        stale: Stale = {}
        known = self._book.policies()
        renewed = {key: known[key] for key in self._book.directory.stale}
        for key, policy in (renewed | dict(policies)).items():
            before, after = (self._book.remove(key), ()) if policy is None else self._book.upsert(policy)
            changed = set(before) ^ set(after)
            directions = {each.rule.direction for each in changed}
            carriers: dict[LabelSelector, BitMap] = {}
            for selector in {each.rule.subject for each in changed}:
                carriers[selector] = self._registry.carriers(selector) & self._roster.local
            affected = BitMap.union(*carriers.values()) if carriers else BitMap()
            if affected:
                for each in after:
                    if each.rule.subject not in carriers:
                        carriers[each.rule.subject] = self._registry.carriers(each.rule.subject)
            for number in affected:
                identity = Identity(number)
                part = tuple(each for each in after if identity in carriers[each.rule.subject])
                self._roster.put_part(self.subjects[identity], name_of(key), part)
                stale.setdefault(identity, set()).update(directions)
        return stale

    def _update_tables(self, stale: Stale) -> tuple[list[Flip], list[Table]]:
        """Give subjects the tables of their rules. Returns who got others, and a table for each lost use."""
        flips: list[Flip] = []
        left: list[Table] = []
        for identity in sorted(stale):
            subject = self.subjects[identity]
            before, beside = subject.tables, subject.shadow
            option = None if identity == HOST else self._option
            if not subject.endpoints and identity != HOST:
                self._roster.end(subject)
                left += (table for table in (*before, *beside) if table is not None)
                continue
            after, staged = list(before), list(beside)
            for direction in sorted(stale[identity]):
                rules = directed(subject.policies, direction, option)
                after[direction] = self._exchange(before[direction], rules, left)
                rules = shadowing(subject.policies, direction, option) if self._book.shadowing else ()
                staged[direction] = self._exchange(beside[direction], rules, left)
            if (after, staged) != (list(before), list(beside)):
                self._journal.did(setattr, subject, "tables", before)
                self._journal.did(setattr, subject, "shadow", beside)
                subject.tables, subject.shadow = (after[0], after[1]), (staged[0], staged[1])
                flips.append(Flip(subject, before, subject.tables))
        return flips, left

    def _exchange(self, table: Table | None, rules: Numbered, left: list[Table]) -> Table | None:
        """The table of some rules, in the place of one that is then added to ``left``."""
        if rules == (table.rules if table else ()):
            return table
        if table is not None:
            left.append(table)
        return self._tables.acquire(rules)

    def _describe(
        self, flipped: set[EndpointId], removed: set[EndpointId], placed: Mapping[Identity, ClassId]
    ) -> Change:
        """What this change did, for the kernel. ``placed``: classes that identities got before any left.

        One that leaves moves first: until then, new tables may no longer name its old class.
        """
        classes = self._registry.classes
        return Change(
            rules=self._unsaid[0] | self._book.changed,
            layer7_sets=self._tables.layer7_sets.added(),
            rule_sets={table.id: rows for table, rows in self._tables.made.items()},
            rows=dict(self._tables.added),
            identity_classes={identity: class_id for identity, class_id in placed.items() if class_id},
            ipcache=dict(self._ipcache.updated),
            endpoints={key: self.endpoint_plan(key) for key in sorted(flipped - removed)},
            endpoints_removed=frozenset(removed),
            ipcache_removed=frozenset(self._ipcache.removed),
            identities_removed=frozenset(
                each for each in (*placed, *classes.moved()) if not classes.of(each)
            ),
            rows_removed={key: frozenset(rows) for key, rows in self._tables.taken.items()},
            rule_sets_removed=frozenset(self._tables.removed),
            layer7_sets_removed=self._tables.layer7_sets.removed(),
            rules_removed=frozenset(self._book.removed),
            rules_turned=frozenset(self._book.turned - self._book.removed),
            identities=self._registry.arrived(),
            outside={
                **{number: prefix for prefix, number in self._registry.prefixes_added.items()},
                **self._registry.named_added,
            },
            rule_names=self._unsaid[1] | self._book.named,
            identities_freed=frozenset(self._registry.freed),
        )

    def _check_numbers(self) -> None:
        """Refuse more things than have numbers, before any of them goes. Raises CapacityError."""
        room = self._capacity.rules - 1  # row 0 is the default's
        if len(self._book) > room:
            raise CapacityError("rule_counters", len(self._book), room)
        for things, needed, available in self._registry.numbers():
            if needed > available:
                raise CapacityError(things, needed, available, kind="the numbers for")

    def _check_capacity(self, change: Change, peak_tables: int) -> None:
        """Refuse what would not fit while old and new are there together. Raises CapacityError."""
        room = self._capacity
        leaving = sum(prefix.length == 128 for prefix in change.ipcache_removed)
        entries = len(self._ipcache) + len(change.ipcache_removed)
        hosts = self._ipcache.hosts + leaving
        needs = (
            ("endpoints", len(self._roster), room.endpoints),
            ("rule_sets", peak_tables, room.rule_sets),
            ("rule_set", self._tables.largest, room.rows),
            (
                "identity_classes",
                len(self._registry.classes) + len(change.identities_removed),
                room.identity_classes,
            ),
            ("ipcache_hosts", hosts, room.ipcache_hosts),
            ("ipcache_prefixes", entries - hosts, room.ipcache_prefixes),
        )
        for name, needed, available in needs:
            if needed > available:
                raise CapacityError(name, needed, available)

    # Questions

    def snapshot(self) -> Snapshot:
        """The whole plan as it is now."""
        return Snapshot(
            rules=dict(self.rules),
            rule_sets={table.id: rule_set(table) for table in self._tables.live()},
            identity_classes=dict(self.identity_classes),
            ipcache=dict(self._ipcache.entries()),
            endpoints={key: self.endpoint_plan(key) for key in sorted(self.endpoints)},
            layer7_sets=dict(self._tables.layer7_sets.live()),
            host=host if (host := self._roster.host_plan()) and host.judges else None,
        )

    def verdict(
        self,
        subject: EndpointId | Labels | ReservedIdentity,
        direction: Direction,
        peer: Identity,
        protocol: int,
        port: int,
    ) -> Verdict:
        """How an endpoint judges a flow with a peer; ``port`` is the message type for ICMP.

        For an endpoint this is the kernel's own look-up on the kernel's own rows. Labels ask for an
        endpoint that may not exist; then peers are told apart only as far as live selectors (and
        identities) do, so for CIDR rules of policies that select nobody, ask with an endpoint. The
        reserved identity of the host asks what policies about nodes say of this one.
        Raises KeyError for an endpoint that does not exist, and for a node whose labels nobody told.
        """
        if isinstance(subject, frozenset):
            rules = self.rules_of(subject, direction)
            return judge_afresh(rules, self._registry, peer, protocol, port)
        if isinstance(subject, ReservedIdentity):
            table = self._roster.pointers(HOST_ENDPOINT)[0][direction]
        else:
            table = self._roster.pointers(subject)[0][direction]
        return judge(table, self._registry.classes.of(peer), protocol, port)

    def shadow_verdict(
        self, endpoint: EndpointId, direction: Direction, peer: Identity, protocol: int, port: int
    ) -> Verdict | None:
        """What rules that are not in force make of a flow; None where they make no difference to any.

        Raises KeyError for an endpoint that does not exist.
        """
        table = self._roster.pointers(endpoint)[1][direction]
        return None if table is None else judge(table, self._registry.classes.of(peer), protocol, port)

    def beside(self, endpoint: EndpointId, direction: Direction) -> Numbered:
        """The rules of an endpoint's shadow table, in deciding order; none without one. Raises KeyError."""
        table = self._roster.pointers(endpoint)[1][direction]
        return () if table is None else table.rules

    def rules_of(self, labels: Labels, direction: Direction) -> Numbered:
        """The rules that select an endpoint with these labels, which may not exist, in deciding order."""
        return directed(self._book.selecting(labels), direction, self._option)

    def endpoint_plan(self, endpoint: EndpointId) -> EndpointPlan:
        """What an endpoint's row points at. Raises KeyError."""
        return self._roster.plan(endpoint)

    def identity_of_address(self, packed: bytes) -> Identity:
        """Whose an address (16 bytes) is: an endpoint's, else as the ipcache says, else world's."""
        return self._roster.identity(packed) or self._ipcache.identity(packed)

    @property
    def layer7_sets(self) -> Mapping[Layer7Id, Layer7]:
        """Content that some verdict redirects to; a live view."""
        return MappingProxyType(self._tables.layer7_sets.live())

    @property
    def identities(self) -> Mapping[Identity, Labels]:
        """Labels of every identity, the reserved ones included; a live view, ascending."""
        return self._registry

    @property
    def identity_classes(self) -> Mapping[Identity, ClassId]:
        """Classes of identities that a live selector selects, a live view; others are class 0."""
        return self._registry.classes.entries()

    @property
    def subjects(self) -> Mapping[Identity, Subject]:
        """Identities that endpoints of this node have, and their tables; a live view."""
        return self._roster.subjects

    @property
    def registry(self) -> Registry:
        """Who is who and who selects whom, for questions."""
        return self._registry

    @property
    def endpoints(self) -> Mapping[EndpointId, Endpoint]:
        """Endpoints of this node; a live view."""
        return self._roster.endpoints

    @property
    def policies(self) -> Mapping[PolicyKey, Policy]:
        """Policies in force; a live view."""
        return self._book.policies()

    @property
    def rules(self) -> Mapping[RuleId, Rule]:
        """Rules in force by number; a live view."""
        return self._book.rules()

    def statistics(self) -> EngineStatistics:
        """How much the engine holds."""
        return EngineStatistics(
            endpoints=len(self._roster),
            subjects=len(self.subjects),
            policies=len(self._book.policies()),
            rules=len(self._book),
            selectors=self._registry.live_selectors(),
            identities=len(self._registry),
            classes=len(self._registry.classes.members()),
            rule_sets=len(self._tables),
            rows=sum(table.size for table in self._tables.live()),
            ipcache=len(self._ipcache),
        )


def _listens(endpoint: Endpoint | None) -> Iterable[Listen]:
    return () if endpoint is None else endpoint.listens
