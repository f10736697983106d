"""What a reload may change, and what it refuses in a sentence."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinety.datapath.reload import require_reloadable
from kinety.datapath.settings import SWITCHES, Settings
from kinety.plan.change import Capacity

HELD = Settings(pins=Path("/pins"))


def test_every_switch_may_be_in_any_position() -> None:
    for name, switch in SWITCHES.items():
        for position in switch.values:
            require_reloadable(HELD, HELD.switched({name: position}))


@pytest.mark.parametrize(
    "changed",
    [{"interface_base": 7}, {"capacity": Capacity(rules=3)}, {"conntrack": 5}, {"pins": Path("/elsewhere")}],
)
def test_the_rest_is_refused_with_what_could_be_changed(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="stop the agent and start it") as told:
        require_reloadable(HELD, replace(HELD, ipv6=False, **changed))
    assert str(told.value).startswith(
        f"a reload cannot change {next(iter(changed))}, "
        "only event_level, fragments, hooks, ipv4, ipv6, shadow: "
    )
