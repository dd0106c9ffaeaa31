"""The OpenAPI document says what serves, no more and no less, and is valid and stable."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from boarding import ON_BOARD
from signalstack.api import examples, openapi
from signalstack.api.app import OPERATIONS
from signalstack.api.description import Description
from signalstack.api.openapi_schema import describe
from signalstack.core.handler import JobType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signalstack.core.handler import Registry

REGISTRY = {job_type.name: job_type for job_type in ON_BOARD}


def build(registry: Registry) -> dict[str, Any]:
    own = Description(OPERATIONS, registry).operations
    document = openapi.build((*OPERATIONS, *own), registry)
    return json.loads(msgspec.json.encode(document))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build(REGISTRY)


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


@pytest.mark.parametrize("registry", [REGISTRY, {}])
def test_is_valid_openapi(registry: Registry) -> None:
    OpenAPIV31SpecValidator(build(registry)).validate()


def test_every_route_is_described_and_nothing_else(document: dict[str, Any]) -> None:
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }

    served = {(operation.method, operation.route) for operation in OPERATIONS}
    assert described == served | {("GET", "/openapi.json"), ("GET", "/docs")}


def test_operations_have_names_of_their_own_and_tags_that_are_explained(
    document: dict[str, Any],
) -> None:
    names = [operation["operationId"] for operation in operations(document)]

    assert len(names) == len(set(names))
    assert all(tag["description"] for tag in document["tags"])
    assert all(operation["summary"] for operation in operations(document))


def test_every_body_has_an_example_that_is_no_leftover(document: dict[str, Any]) -> None:
    with_body = {
        operation["operationId"] for operation in operations(document) if "requestBody" in operation
    }

    assert with_body == set(examples.EXAMPLES)
    for operation in operations(document):
        for content in operation.get("requestBody", {"content": {}})["content"].values():
            assert content["examples"], operation["operationId"]


def test_patterns_are_written_for_ecma_262(document: dict[str, Any]) -> None:
    patterns = set(re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(document)))

    assert patterns
    for pattern in patterns:
        assert not re.search(r"\\\\[AZz]|\(\?[^:=!<]|\(\?<[^=!]", pattern), pattern


def test_problems_are_those_that_an_operation_can_have(document: dict[str, Any]) -> None:
    paths = document["paths"]

    assert set(paths["/live"]["get"]["responses"]) == {"200", "400"}
    assert set(paths["/v1/jobs"]["get"]["responses"]) == {
        *("200", "400", "401", "403", "429", "503")
    }
    amend = paths["/v1/jobs/{id}"]["patch"]["responses"]
    assert set(amend) == {
        *("200", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "503")
    }
    assert amend["409"]["description"] == "The job has started."
    assert set(paths["/ready"]["get"]["responses"]) == {"200", "400", "503"}


def test_a_key_is_asked_for_where_an_operation_needs_one(document: dict[str, Any]) -> None:
    paths = document["paths"]

    assert paths["/live"]["get"]["security"] == []
    assert paths["/v1/jobs"]["post"]["security"] == [{"bearer": ["write"]}, {"apiKey": ["write"]}]


def test_every_job_type_has_a_request_with_its_payload(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    whole = schemas["JobRequest"]
    assert whole["discriminator"]["mapping"].keys() == REGISTRY.keys()
    assert len(whole["oneOf"]) == len(REGISTRY)
    charge = schemas["JobRequest.process_payment"]
    assert charge["properties"]["type"]["const"] == "process_payment"
    assert charge["required"] == ["type", "payload"]
    assert schemas["JobRequest.noop"]["required"] == ["type"]
    payment = schemas[charge["properties"]["payload"]["$ref"].rpartition("/")[2]]
    assert payment["properties"]["amount"]["minimum"] == 1
    assert set(schemas["JobTemplate"]["properties"]["type"]["enum"]) == REGISTRY.keys()


def test_a_payload_of_the_users_own_never_renames_ours(document: dict[str, Any]) -> None:
    own = msgspec.defstruct("Job", [("status", int)])
    job_type = JobType(name="acme:job.run", payload=own, run=ON_BOARD[0].run, is_async=True)

    theirs = build({**REGISTRY, job_type.name: job_type})["components"]["schemas"]

    ours = document["components"]["schemas"]
    assert theirs["Job"] == ours["Job"]
    assert theirs["JobRequest.acme_job.run.Job"]["properties"] == {"status": {"type": "integer"}}
    assert theirs.keys() - ours.keys() == {
        "JobRequest.acme_job.run",
        "JobRequest.acme_job.run.Job",
    }


def test_raw_json_is_described_by_what_it_holds(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert schemas["Subscription"]["properties"]["job"]["$ref"].endswith("/JobTemplate")
    assert schemas["Endpoint"]["properties"]["headers"]["type"] == "object"
    assert schemas["Job"]["properties"]["payload"] == {}
    assert schemas["Job"]["properties"]["started_at"]["format"] == "date-time"


def test_query_parameters_have_the_bounds_of_their_struct(document: dict[str, Any]) -> None:
    listed = {each["name"]: each for each in document["paths"]["/v1/jobs"]["get"]["parameters"]}
    summed = document["paths"]["/v1/analytics/summary"]["get"]["parameters"]

    assert listed["limit"]["schema"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 200,
        "default": 50,
    }
    assert listed["status"]["schema"]["$ref"].endswith("/Status")
    assert listed["created_after"]["schema"] == {"type": "string", "format": "date-time"}
    assert [(each["name"], each["required"]) for each in summed] == [("from", True), ("to", True)]


def test_the_description_is_the_same_in_every_process() -> None:
    program = (
        "from boarding import ON_BOARD\n"
        "from signalstack.api.app import OPERATIONS\n"
        "from signalstack.api.description import Description\n"
        "made = Description(OPERATIONS, {kind.name: kind for kind in ON_BOARD})\n"
        "drawn = made.draw()\n"
        "print(drawn.document.etag, drawn.page.etag)\n"
    )

    etags = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "tests"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(etags) == 1


def test_a_struct_may_add_rules_that_no_type_can_say() -> None:
    class Pair(msgspec.Struct):
        """Either one.

        Not both.
        """

        json_schema = {"minProperties": 1}
        left: str | None = None

    (schema,), components = describe([Pair])

    assert schema == {"$ref": "#/components/schemas/Pair"}
    assert components["Pair"] == {
        "description": "Either one.\n\nNot both.",
        "type": "object",
        "properties": {"left": {"type": ["string", "null"], "default": None}},
        "minProperties": 1,
    }
