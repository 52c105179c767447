"""The OpenAPI document is true: whatever it allows gets an answer that it declares, and never an error of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from aihwjax.server.faces.app import create_app
from aihwjax.server.settings import ServerSettings
from tests.marks import exhaustive, slow
from tests.server.faces.harness import Server, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(tmp_path / "data", monkeypatch, max_jobs_per_user=100_000) as running:
        yield running


def ask(server: Server, examples: int) -> Counter[int]:
    """Ask every operation for ``examples`` answers, with good and bad data; return how often each status came."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"  # the app has started already
        await server.client.app(scope, receive, send)  # type: ignore[arg-type]

    schema = schemathesis.openapi.from_dict(server.client.get("/api/v1/openapi.json").json())
    schema.app = app
    ids = [server.completed(), server.waiting(), server.created()[0]]
    statuses: Counter[int] = Counter()
    headers = server.user()
    for operation in (result.ok() for result in schema.get_all_operations()):
        cases = st.one_of(
            operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        )

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases, st.sampled_from([None, *ids]), st.integers(0, 9))
        def check(case: Any, experiment_id: str | None, chance: int) -> None:
            if case.operation.path.endswith("/stream"):  # of the others there is no end
                case.path_parameters["id"] = ids[0]
            elif experiment_id is not None:  # most made-up ids lead nowhere
                if "id" in (case.path_parameters or {}):
                    case.path_parameters["id"] = experiment_id
                if isinstance(case.body, dict) and "experiment" in case.body:
                    case.body["experiment"] = experiment_id
            signed_in = None if chance == 0 else headers
            response = case.call(headers=signed_in)
            statuses[response.status_code] += 1
            case.validate_response(response, excluded_checks=_EXCLUDED)

        check()
    return statuses


_EXCLUDED: list[Any] = [
    # these send requests of their own, or know nothing of the ids and tokens that are put in above
    schemathesis.checks.ensure_resource_availability,
    schemathesis.checks.use_after_free,
    schemathesis.checks.negative_data_rejection,
    schemathesis.checks.positive_data_acceptance,
    schemathesis.checks.ignored_auth,
    schemathesis.checks.missing_required_header,
]


def test_some_hundred_requests_are_answered_as_declared(server: Server) -> None:
    statuses = ask(server, 15)
    assert sum(statuses.values()) >= 300
    assert {200, 201, 204, 401, 403, 404, 422} - {204} <= set(statuses)
    assert not [status for status in statuses if status >= 500]


@pytest.mark.parametrize("requests", [slow(1_000), exhaustive(10_000)])
def test_thousands_of_requests_are_answered_as_declared(server: Server, requests: int) -> None:
    statuses = ask(server, 45 * requests // 1_000)
    assert sum(statuses.values()) >= requests
    assert not [status for status in statuses if status >= 500]


def test_every_operation_says_what_it_does_and_answers(tmp_path: Path) -> None:
    document = create_app(ServerSettings(tmp_path)).openapi()
    summaries = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert " " in operation["summary"] and not operation["summary"].endswith("."), where
            assert operation["description"].startswith(operation["summary"]), where
            assert all(parameter.get("description") for parameter in operation.get("parameters", [])), where
            said = {status: answer["description"] for status, answer in operation["responses"].items()}
            assert all(text.endswith(".") for text in said.values()), (where, said)
            assert "Successful Response" not in said.values(), where
            summaries.append(operation["summary"])
    assert len(summaries) > 15
    schemas = document["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    fields = {
        f"{name}.{field}": entry for name in schemas for field, entry in schemas[name].get("properties", {}).items()
    }
    assert [name for name, entry in fields.items() if not entry.get("description") and "$ref" not in entry] == []
