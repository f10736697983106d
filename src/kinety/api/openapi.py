"""The OpenAPI 3.1 document, made from the route table and the classes that travel.

https://spec.openapis.org/oas/v3.1.0
"""

import re
from typing import Any, Literal

from pydantic import TypeAdapter

from kinety import __version__
from kinety.api import types
from kinety.api.routes import REFUSALS, ROUTES, Route

_REFERENCE = "#/components/schemas/{model}"
_Key = tuple[str, Literal["validation", "serialization"]]


def document() -> dict[str, Any]:
    """The API's description as a JSON value; the same on every machine."""
    references, schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kinety agent",
            "version": __version__,
            "description": "HTTP on a unix socket that only root may open (`/run/kinety/agent.sock`).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _schemas() -> tuple[dict[_Key, Any], dict[str, Any]]:
    inputs: list[tuple[_Key, TypeAdapter[Any]]] = []
    for route in ROUTES:
        if route.request is not None:
            inputs.append(((route.operation, "validation"), TypeAdapter(route.request)))
        if route.answer is not None:
            inputs.append(((route.operation, "serialization"), TypeAdapter(route.answer)))
    inputs.append((("problem", "serialization"), TypeAdapter(types.Problem)))
    references, definitions = TypeAdapter.json_schemas(
        [(name, mode, adapter) for (name, mode), adapter in inputs], ref_template=_REFERENCE
    )
    schemas = {name: _plain(schema) for name, schema in definitions["$defs"].items()}
    return dict(references), dict(sorted(schemas.items()))


def _plain(schema: Any) -> Any:
    """Docstrings keep the line breaks of the source; a description does not need them."""
    if isinstance(schema, dict):
        return {
            key: re.sub(r"(?<!\n)\n(?!\n)", " ", value)
            if key == "description" and isinstance(value, str)
            else _plain(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    return schema


def _operation(route: Route, references: dict[_Key, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.operation, "summary": route.summary}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ] + [
        {"name": item.name, "in": "query", "description": item.meaning, "schema": {"type": item.kind}}
        for item in route.parameters
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.request is not None:
        schema = references[(route.operation, "validation")]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    success: dict[str, Any] = {"description": "done" if route.answer is None else "the answer"}
    if route.answer is not None:
        schema = references[(route.operation, "serialization")]
        success["content"] = {route.media_type: {"schema": schema}}
    refusal = {"application/json": {"schema": references[("problem", "serialization")]}}
    operation["responses"] = {str(route.success): success} | {
        str(status): {"description": REFUSALS[status], "content": refusal}
        for status in sorted({*route.refusals, 500})
    }
    return operation
