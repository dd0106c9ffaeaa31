"""JSON Schemas of structs, as the components of an OpenAPI document."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec
from msgspec import inspect as types

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from signalstack.core.handler import JobType, Registry

# A piece of a JSON document that is being put together.
Node: TypeAlias = dict[str, Any]

REFERENCE: Final = "#/components/schemas/"
# What `$` means in ECMA-262, the language of patterns in JSON Schema, takes this in Python.
_END: Final = r"(?![\s\S])"
_ALONE: Final = frozenset({"$ref", "anyOf", "enum", "const", "oneOf"})


def describe(kinds: Sequence[Any], prefix: str = "") -> tuple[list[Node], dict[str, Node]]:
    """Make the schemas of types, and the components that they refer to, named behind the prefix.

    A field of raw JSON is described by the type that its annotation says it holds
    (`Meta(extra={"holds": …})`), and a struct by its `json_schema` besides: rules that no type can
    say. Times are always told with an offset.
    """
    structs, held = _gather(kinds)
    made, components = msgspec.json.schema_components(
        [*kinds, *(held_type for _, _, held_type in held)],
        ref_template=f"{REFERENCE}{prefix}{{name}}",
    )
    for struct in structs:
        component = components[struct.cls.__name__]
        component |= getattr(struct.cls, "json_schema", {})
        properties = component["properties"]
        for field in struct.fields:
            _mark_moment(field.type, properties[field.encode_name])
    for (cls, name, _), schema in zip(held, made[len(kinds) :], strict=True):
        components[cls.__name__]["properties"][name] = schema
    named = {prefix + name: _tidy(schema) for name, schema in components.items()}
    return [_tidy(schema) for schema in made[: len(kinds)]], named


def spread(request: Node, registry: Registry) -> dict[str, Node]:
    """Make one component for the request of each job type, with its payload, and that of all."""
    components: dict[str, Node] = {}
    references: dict[str, str] = {}
    for job_type in registry.values():
        component = "JobRequest." + job_type.name.replace(":", "_")
        (payload,), beside = describe([job_type.payload], component + ".")
        components[component] = _request_for(request, job_type, payload)
        components |= beside
        references[job_type.name] = REFERENCE + component
    whole: Node = {
        "description": request["description"],
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "type", "mapping": references},
    }
    return {"JobRequest": whole, **components}


def without_null(schema: Node) -> Node:
    """Give the schema of what stands in a query string, which knows no null."""
    schema = {name: item for name, item in schema.items() if item is not None}
    if isinstance(schema.get("type"), list):
        kinds = [kind for kind in schema["type"] if kind != "null"]
        schema["type"] = kinds[0] if len(kinds) == 1 else kinds
    if "anyOf" in schema:
        kept = [item for item in schema.pop("anyOf") if item != {"type": "null"}]
        schema |= kept[0] if len(kept) == 1 else {"anyOf": kept}
    return schema


def _request_for(request: Node, job_type: JobType, payload: Node) -> Node:
    properties = {
        **request["properties"],
        "type": {"type": "string", "const": job_type.name},
        "payload": payload,
    }
    required = [*request["required"], *([] if _takes_null(job_type.payload) else ["payload"])]
    return {
        "description": f"A job of the type `{job_type.name}`.",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _takes_null(payload: Any) -> bool:
    """Tell whether a job of this type can do without a payload."""
    try:
        msgspec.convert(None, payload)
    except msgspec.ValidationError:
        return False
    return True


def _gather(kinds: Sequence[Any]) -> tuple[list[types.StructType], list[tuple[type, str, Any]]]:
    """Find all structs that types are made of, and which fields hold another type as raw JSON."""
    structs: dict[type, types.StructType] = {}
    held: list[tuple[type, str, Any]] = []
    waiting: list[types.Type] = list(types.multi_type_info(kinds))
    while waiting:
        kind = waiting.pop(0)
        if not isinstance(kind, types.StructType):
            waiting += _parts(kind)
        elif kind.cls not in structs:
            structs[kind.cls] = kind
            for field in kind.fields:
                waiting.append(field.type)
                if (holds := _held(field.type)) is not None:
                    held.append((kind.cls, field.encode_name, holds))
                    waiting.append(types.type_info(holds))
    return list(structs.values()), held


def _held(kind: types.Type) -> Any:
    extra = cast("Node | None", kind.extra) if isinstance(kind, types.Metadata) else None
    return extra.get("holds") if extra else None


def _parts(kind: types.Type) -> Iterable[types.Type]:
    match kind:
        case types.Metadata():
            return (kind.type,)
        case types.CollectionType():
            return (kind.item_type,)
        case types.TupleType():
            return kind.item_types
        case types.DictType():
            return (kind.value_type,)
        case types.UnionType():
            return kind.types
        case _:
            return ()


def _mark_moment(kind: types.Type, schema: Node) -> None:
    if any(isinstance(part, types.DateTimeType) for part in (kind, *_parts(kind))):
        for node in (schema, *schema.get("anyOf", ())):
            if node.get("type") == "string":
                node["format"] = "date-time"


def _tidy(schema: Mapping[str, Any]) -> Node:
    """Write a schema as people would: clean texts, `$` for the end, short forms of null."""
    return _with_null({name: item for name, item in _tidied(schema) if name != "title"})


def _tidied(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, item in schema.items():
        match name, item:
            case "description", str():
                yield name, inspect.cleandoc(item)
            case "pattern", str():
                yield name, item.replace(_END, "$")
            case "properties", dict():
                properties = cast("dict[str, Node]", item)
                yield name, {field: _tidy(inner) for field, inner in properties.items()}
            case "required", []:
                pass
            case "default", _:
                yield name, msgspec.json.decode(msgspec.json.encode(item))
            case _, dict():
                yield name, _tidy(cast("Node", item))
            case "anyOf" | "oneOf" | "prefixItems", list():
                yield name, [_tidy(inner) for inner in cast("list[Node]", item)]
            case _:
                yield name, item


def _with_null(schema: Node) -> Node:
    """Write `anyOf` of something plain and null as a list of types."""
    match schema.get("anyOf"):
        case [{"type": str() as kind, **rest}, {"type": "null"}] if not _ALONE & rest.keys():
            plain = {name: item for name, item in schema.items() if name != "anyOf"}
            return {"type": [kind, "null"], **rest, **plain}
        case _:
            return schema
