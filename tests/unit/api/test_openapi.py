import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

from kinety.api import address, hook, insight, naming, overview, proxy, reload, shadow, types
from kinety.api.openapi import document
from kinety.api.routes import ROUTES
from kinety.api.server import Node

MODULES = (address, hook, insight, naming, overview, proxy, reload, shadow, types)
CLASSES = {name: value for module in MODULES for name, value in vars(module).items() if is_dataclass(value)}
ROOT = Path(__file__).resolve().parents[3]


def test_committed_document_is_current() -> None:
    text = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    committed = (ROOT / "docs/reference/openapi.json").read_text(encoding="utf-8")
    assert committed == text, "run: python tools/gen_openapi.py"


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(document())
    schemas = document()["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert references <= set(schemas)
    assert set(CLASSES) == set(schemas)


def test_schemas_have_the_classes_fields() -> None:
    for name, schema in document()["components"]["schemas"].items():
        assert list(schema["properties"]) == [field.name for field in fields(CLASSES[name])]
        assert schema["description"], name


def test_every_route_has_a_method_on_the_node() -> None:
    for route in ROUTES:
        assert hasattr(Node, "subscribe" if route.operation == "events" else route.operation)


def test_the_reference_page_names_every_route() -> None:
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    for route in ROUTES:
        assert f"`{route.method} {route.path}`" in page
