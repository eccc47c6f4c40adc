"""All that the OpenAPI document allows is answered as it says."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import status_code_conformance

CHECKS = [status_code_conformance]  # 500 is documented nowhere; 503 is an answer
EXAMPLES = 15  # of each route


def test_no_request_is_answered_otherwise_than_documented(ask):
    schema = schemathesis.openapi.from_asgi("/openapi.json", ask().app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        def answered(case):
            case.call_and_validate(checks=CHECKS)

        answered()
