"""Files as an inventory: scenarios and policies beside each other."""

from pathlib import Path

import pytest

from kinety.cli.inventory import Inventory, read_inventory
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.rule import Direction
from kinety.model.verdict import VerdictKind

SHIPS = "examples/star-wars/scenario.yaml"


def test_a_policy_that_a_scenario_names_may_be_given_beside_it() -> None:
    inventory = read_inventory([SHIPS, "examples/star-wars/policy.yaml", "examples/shop"])
    assert len(inventory.policies) == 1 + len(read_inventory(["examples/shop"]).policies)
    engine = inventory.engine()
    assert {str(each) for each in engine.endpoints.values()} >= {"default/xwing", "shop/web"}


def test_another_policy_of_that_name_may_not(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(Path("examples/star-wars/policy.yaml").read_text().replace('"80"', '"81"'))
    with pytest.raises(ValueError, match="CiliumNetworkPolicy/default/rule1 is another than in a file"):
        read_inventory([SHIPS, str(other)])


def test_two_scenarios_of_the_same_endpoints_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="two endpoints default/deathstar; give one scenario at a time"):
        read_inventory(["examples/star-wars/selecting.yaml"])


def test_endpoints_of_several_inventories_have_numbers_and_addresses_of_their_own() -> None:
    ships, shop = read_inventory([SHIPS]), read_inventory(["examples/shop"])
    both = Inventory((*ships.endpoints, *shop.endpoints, *ships.endpoints), ()).engine()
    assert len(both.endpoints) == len(ships.endpoints) + len(shop.endpoints)
    assert both.policies == {}


def test_the_node_has_a_say_where_policies_are_about_it() -> None:
    asked = (ReservedIdentity.HOST, Direction.INGRESS, Identity(ReservedIdentity.WORLD_IPV4), 6)
    engine = read_inventory(["examples/node"]).engine()
    verdicts = [engine.verdict(*asked, port).kind for port in (22, 23)]
    assert verdicts == [VerdictKind.ALLOW, VerdictKind.DENY]
    with pytest.raises(KeyError):
        read_inventory([SHIPS]).engine().verdict(*asked, 22)
