"""The API's OpenAPI 3.1 document, made from the table of operations. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from wtgateway import __version__
from wtgateway.web.operations import PREFIX, Operation
from wtgateway.web.schemas import COMPONENTS, ref

_PARAMETER = re.compile(r"\{(\w+)(?::broadcast)?\}")
_RULES = {401: "A token is needed", 403: "Not allowed", 429: "Too many attempts"}
_OF_BODY = {400: "No JSON, or wrong values", 413: "Too long", 415: "Not JSON"}
_HELP = {"name": "A broadcast's name, with its slashes", "id": "A session's id"}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document (OpenAPI 3.1.1)."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = PREFIX + _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "wtgateway",
            "version": __version__,
            "description": "What a gateway shows and does. Errors are JSON: {error, status}.",
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(COMPONENTS),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    value: dict[str, Any] = {
        "operationId": operation_id(operation),
        "summary": operation.summary,
        "parameters": [
            *(_in_path(name) for name in _PARAMETER.findall(operation.path)),
            *(
                {"name": each.name, "in": "query", "description": each.help, "schema": each.schema}
                for each in operation.query
            ),
        ],
        "responses": {str(status): answer for status, answer in sorted(_responses(operation).items())},
    }
    if operation.takes is not None:
        content = {"application/json": {"schema": operation.takes}}
        value["requestBody"] = {"required": True, "content": content}
    value["security"] = [{"bearer": []}, {"query": []}, {}] if operation.action else []
    if operation.action:
        value["x-action"] = operation.action
    return value


def operation_id(operation: Operation) -> str:
    """Such as getBroadcastsName."""
    words = re.findall(r"\w+", operation.path.replace(":broadcast", "").removeprefix("/v1"))
    return operation.method.lower() + "".join(
        word.replace("_", " ").title().replace(" ", "") for word in words
    )


def _in_path(name: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "path", "required": True, "description": _HELP[name], "schema": schema}


def _responses(operation: Operation) -> dict[int, dict[str, Any]]:
    responses = {
        status: _response(_words(status), schema, operation.media_type)
        for status, schema in operation.answers.items()
    }
    more: Mapping[int, str] = _RULES if operation.action else {}
    if operation.changes:
        more = {**more, 403: "Not allowed, or the request of another site"}
    if operation.takes is not None:
        more = {**more, **_OF_BODY}
    for status, words in more.items():
        responses.setdefault(status, _response(words, ref("Error"), "application/json"))
    return responses


def _response(words: str, schema: Mapping[str, Any] | None, media_type: str) -> dict[str, Any]:
    if schema is None:
        return {"description": words}
    is_error = schema == ref("Error")
    return {
        "description": words,
        "content": {"application/json" if is_error else media_type: {"schema": schema}},
    }


def _words(status: int) -> str:
    return HTTPStatus(status).phrase
