"""The OpenAPI document, made from the table of operations and the models that check the bodies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from controlplane.api.operations import Answer, Operation, Parameter, pattern
from controlplane.api.refused import MEDIA_TYPE
from controlplane.model.problem import Problem

_ALWAYS = (400, 401, 403, 500)
"""Statuses that every operation may refuse with."""

_Mode = Literal["validation", "serialization"]
_Wanted = tuple[type[BaseModel], _Mode]
_Schemas = Mapping[_Wanted, dict[str, Any]]


def openapi(operations: Iterable[Operation], version: str) -> dict[str, object]:
    """The document for these operations."""
    table = tuple(operations)
    schemas, components = _models(table)
    paths: dict[str, dict[str, Any]] = {}
    for operation in table:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skycap registry",
            "version": version,
            "description": "Owns sandboxes and publishes the routes that follow from them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _models(operations: tuple[Operation, ...]) -> tuple[_Schemas, dict[str, Any]]:
    wanted: dict[_Wanted, None] = {(Problem, "serialization"): None}
    for operation in operations:
        if operation.body is not None:
            wanted[operation.body, "validation"] = None
        for answer in operation.answers.values():
            if answer.model is not None:
                wanted[answer.model, "serialization"] = None
    schemas, definitions = models_json_schema(tuple(wanted), by_alias=True, ref_template="#/components/schemas/{model}")
    return {pair: schemas[pair] for pair in wanted}, definitions["$defs"]


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": {str(status): _answer(answer, schemas) for status, answer in operation.answers.items()},
    }
    problem = {"content": {MEDIA_TYPE: {"schema": schemas[Problem, "serialization"]}}}
    for status in sorted({*_ALWAYS, *operation.problems}):
        described["responses"][str(status)] = {"description": HTTPStatus(status).phrase, **problem}
    if operation.body is not None:
        schema = schemas[operation.body, "validation"]
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if operation.lines:
        described["requestBody"] = {"required": True, "content": {operation.lines: {"schema": {}}}}
    if operation.open:
        described["security"] = [{}]
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = pattern(parameter.grammar)
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.description,
        "schema": {"type": "array", "items": schema} if parameter.many else schema,
    }
    if not parameter.example:
        return described
    return described | {"example": [parameter.example] if parameter.many else parameter.example}


def _answer(answer: Answer, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.model is not None:
        schema = schemas[answer.model, "serialization"]
        if answer.many:
            items = {"type": "array", "items": schema}
            more = {"type": "string", "description": "for the next page; absent on the last"}
            schema = {"type": "object", "required": ["items"], "properties": {"items": items, "continue": more}}
        described["content"] = {answer.media_type: {"schema": schema}}
    elif answer.media_type != "application/json":
        described["content"] = {answer.media_type: {"schema": {"type": "string"}}}
    return described
