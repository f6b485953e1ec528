"""The page at `/docs`: the API's own OpenAPI schema as HTML without scripts or external links."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

PAGE_FILE = Path(__file__).with_name("static") / "docs.html"
EXAMPLE = (
    "curl -s -X POST http://HOST:PORT/generate -H 'Content-Type: application/json' \\\n"
    '  --data \'{"dialogue": "Doctor: ...\\nPatient: ..."}\''
)


def docs_page(openapi: dict[str, Any]) -> str:
    """The HTML page of an OpenAPI 3.1 schema made by FastAPI."""
    operations = "\n".join(
        _operation(method.upper(), path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    schemas = openapi.get("components", {}).get("schemas", {})
    return PAGE_FILE.read_text(encoding="utf-8").format(
        title=escape(openapi["info"]["title"]),
        version=escape(openapi["info"]["version"]),
        description=escape(openapi["info"].get("description", "")),
        operations=operations,
        schemas="\n".join(_schema(name, schema) for name, schema in schemas.items()),
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    pieces = [
        f"<section><h2><code>{method} {escape(path)}</code></h2>",
        f"<p>{escape(operation.get('summary', ''))}.</p>",
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        pieces.append(f"<p>Body: {_type(body['schema'])}</p><pre>{escape(EXAMPLE)}</pre>")
    rows = "".join(_response(*item) for item in operation["responses"].items())
    pieces.append(_table(("Status", "Body", "Meaning"), rows))
    return "".join(pieces) + "</section>"


def _response(status: str, response: dict[str, Any]) -> str:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    meaning = escape(response.get("description", ""))
    return f"<tr><td>{escape(status)}</td><td>{_type(schema)}</td><td>{meaning}</td></tr>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{'' if field in required else ' (optional)'}</td>"
        f"<td>{_type(value)}</td><td>{escape(value.get('description', ''))}</td></tr>"
        for field, value in schema.get("properties", {}).items()
    )
    head = f'<section id="{escape(name)}"><h3>{escape(name)}</h3>'
    about = f"<p>{escape(schema.get('description', ''))}</p>"
    return head + about + _table(("Field", "Type", "Meaning"), rows) + "</section>"


def _table(names: tuple[str, ...], rows: str) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _type(schema: dict[str, Any]) -> str:
    """The name of a type; records link to their table."""
    return " or ".join(_type_names(schema)) or "anything"


def _type_names(schema: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        yield f'<a href="#{name}">{name}</a>'
    elif "type" in schema:
        yield escape(str(schema["type"]))
    for option in schema.get("anyOf", ()):
        yield from _type_names(option)
