"""One JSON Schema of all messages between editor and server, from which the TypeScript types are generated."""

import json
import sys
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from graph_runtime.events import EVENT
from graph_runtime.workflow import Group, NodeEntry, Note, Subgraph, Wire, Workflow
from web.api import models

UNIONS: dict[str, TypeAdapter[Any]] = {"AnyEvent": EVENT, "ServerMessage": TypeAdapter(models.ServerMessage)}
DOCUMENT: tuple[type[BaseModel], ...] = (Workflow, NodeEntry, Wire, Group, Note, Subgraph)
REFERENCE = "#/$defs/{model}"


class Sent(GenerateJsonSchema):
    """Schemas of sent messages, in which a field with a default is always present."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)


def message_models() -> list[type[BaseModel]]:
    """Return all message classes in order of declaration."""
    found = [getattr(models, name) for name in models.__all__]
    return [value for value in found if isinstance(value, type) and issubclass(value, BaseModel) and value is not models.Message]


def exchanged_schema() -> dict[str, Any]:
    """Return one schema with `$defs` of all messages and events, and of documents, in which defaults may be left out."""
    adapters: dict[str, TypeAdapter[Any]] = {cls.__name__: TypeAdapter(cls) for cls in (*message_models(), Workflow)}
    adapters |= UNIONS
    schemas, shared = TypeAdapter.json_schemas(
        [(name, "serialization", adapter) for name, adapter in adapters.items()],
        by_alias=True,
        ref_template=REFERENCE,
        schema_generator=Sent,
    )
    unions = {name: schemas[name, "serialization"] for name in UNIONS}
    for cls in DOCUMENT:
        needed = [info.alias or name for name, info in cls.model_fields.items() if info.is_required()]
        shared["$defs"][cls.__name__]["required"] = needed
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages",
        "$defs": {**shared["$defs"], **unions},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(exchanged_schema(), indent=2) + "\n")
