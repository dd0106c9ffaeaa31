"""Each error class has one status, and a bug tells nothing."""

from __future__ import annotations

import pytest

from signalstack.api import problems
from signalstack.core import errors


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (errors.MalformedError("x"), 400, "malformed"),
        (problems.AmbiguousError("x"), 400, "malformed"),
        (errors.UnauthenticatedError("x"), 401, "unauthenticated"),
        (errors.ForbiddenError("x"), 403, "forbidden"),
        (errors.NotFoundError("x"), 404, "not-found"),
        (problems.MethodNotAllowedError("PUT", ["GET"]), 405, "method-not-allowed"),
        (problems.SlowBodyError("x"), 408, "slow-body"),
        (errors.ConflictError("x"), 409, "conflict"),
        (errors.TooLargeError("x"), 413, "too-large"),
        (errors.UnsupportedMediaError("x"), 415, "unsupported-media"),
        (errors.InvalidError("x"), 422, "invalid"),
        (errors.UnavailableError("x"), 503, "unavailable"),
        (errors.SchemaError("x"), 500, "internal"),
        (ZeroDivisionError("secret"), 500, "internal"),
    ],
)
def test_an_error_class_has_its_problem(error: Exception, status: int, name: str) -> None:
    problem = problems.describe(error, instance="/v1/jobs", request_id="r")

    assert problem.status == status
    assert problem.type == f"urn:signalstack:problem:{name}"
    assert problem.title
    assert "secret" not in problem.detail


def test_faults_are_listed() -> None:
    error = errors.InvalidError.at("/payload/to", "required field is missing")

    problem = problems.describe(error, instance="/", request_id="r")

    assert [fault.pointer for fault in problem.errors] == ["/payload/to"]


def test_every_error_a_caller_can_cause_is_in_the_table() -> None:
    ours = {errors.SettingsError, errors.SchemaError, errors.EmbeddedError}
    known = {
        cls for cls in errors.SignalStackError.__subclasses__() if cls.__module__ == errors.__name__
    }

    assert known - ours <= set(problems.KINDS)


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (errors.UnauthenticatedError("x"), b"www-authenticate"),
        (problems.MethodNotAllowedError("PUT", ["GET", "HEAD"]), b"allow"),
        (errors.UnavailableError("x"), b"retry-after"),
    ],
)
def test_a_status_has_the_header_that_goes_with_it(error: Exception, header: bytes) -> None:
    assert header in dict(problems.headers_for(error))
