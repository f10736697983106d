"""Other programs under all endpoints of a running datapath: what may change, and what became of it."""

from dataclasses import dataclass, fields

from .settings import SWITCHES, Settings
from .statistics import ProgramStatistics


@dataclass(frozen=True, slots=True)
class Reload:
    """What a reload did. ``changed`` is False when what was asked for was in force, and nothing was loaded.

    ``version`` and ``settings`` are those now in force. ``before`` and ``after`` describe the programs,
    ``interfaces`` says how many are judged by others now. ``load_seconds`` went by while packets met the old
    programs only, ``move_seconds`` while some met the old and some the new ones.
    """

    changed: bool
    version: str
    settings: Settings
    before: tuple[ProgramStatistics, ...]
    after: tuple[ProgramStatistics, ...]
    interfaces: int
    load_seconds: float
    move_seconds: float


def require_reloadable(held: Settings, wanted: Settings) -> None:
    """Raise ValueError that says what cannot be changed by a reload."""
    names = (each.name for each in fields(Settings) if getattr(held, each.name) != getattr(wanted, each.name))
    reloadable = {switch.field for switch in SWITCHES.values()}
    if fixed := sorted(set(names) - reloadable):
        raise ValueError(
            f"a reload cannot change {', '.join(fixed)}, only {', '.join(sorted(reloadable))}: "
            "stop the agent and start it with other options"
        )
