"""Every request that the OpenAPI document allows is answered as it documents."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import status_code_conformance

CHECKS = [status_code_conformance]  # 500 is not documented anywhere; 503 is an answer
EXAMPLES = 2  # per route
SLOW_EXAMPLES = 100


def check_all(client, examples):
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        def answered(case):
            case.call_and_validate(checks=CHECKS)

        answered()


def test_requests_are_answered_as_documented(client):
    check_all(client, EXAMPLES)


@pytest.mark.slow
def test_many_requests_are_answered_as_documented(client):
    check_all(client, SLOW_EXAMPLES)
