"""What reaches a gateway besides the question, how long it is waited for, and how often it is asked."""

import openai
import pytest
from groundrule import Groundrule

from tests.clients.conftest import body, reply_events
from tests.clients.scripted_gateway import Answer, ScriptedGateway, plain, streamed

OPENAIS_OWN = {
    "OPENAI_API_KEY": "sk-for-openai",
    "OPENAI_ADMIN_KEY": "sk-for-openai",
    "OPENAI_ORG_ID": "org-for-openai",
    "OPENAI_PROJECT_ID": "project-for-openai",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer sk-for-openai\nX-Team: team-for-openai",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
}


@pytest.fixture
def _meant_for_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OPENAIS_OWN.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_meant_for_openai")
def test_nothing_of_openais_environment_reaches_the_gateway(gateway: ScriptedGateway) -> None:
    listed = plain({"object": "list", "data": []})
    gateway.enqueue(plain(body()), streamed(*reply_events()), listed, listed)
    with Groundrule(gateway.url) as client:
        client.ask("?")
        list(client.stream("?"))
        client.models()
        client.openai.with_options(timeout=9).models.list()
    for headers in gateway.headers:
        assert not [name for name in headers if name.startswith("openai-")]
        assert not [value for value in headers.values() if "for-openai" in value]
        assert headers["authorization"] == "Bearer none"


@pytest.mark.usefixtures("_meant_for_openai")
def test_what_the_caller_passes_does_reach_it(gateway: ScriptedGateway) -> None:
    gateway.enqueue(plain(body()), plain({"object": "list", "data": []}))
    with Groundrule(gateway.url, "mine") as client:
        client.ask("?", extra_headers={"X-Team": "mine"})
        client.openai.with_options(project="mine", default_headers={"X-Team": "mine"}).models.list()
    asked, listed = gateway.headers
    assert asked["authorization"] == listed["authorization"] == "Bearer mine"
    assert asked["x-team"] == listed["x-team"] == listed["openai-project"] == "mine"


def test_what_took_too_long_is_not_generated_again(gateway: ScriptedGateway) -> None:
    gateway.enqueue(Answer(b"", silent=True), Answer(b"", silent=True))
    with Groundrule(gateway.url, timeout_s=0.2) as client:
        for asking in (client.ask, client.stream):
            with pytest.raises(openai.APITimeoutError):
                asking("?")
    assert len(gateway.history) == 2


@pytest.mark.parametrize(("timeout_s", "connect_s"), [(300, 5), (1, 1)])
def test_a_gateway_that_does_not_accept_is_not_waited_for_long(timeout_s: float, connect_s: float) -> None:
    with Groundrule(timeout_s=timeout_s) as client:
        timeout = client.openai.timeout
    assert isinstance(timeout, openai.Timeout)
    assert (timeout.connect, timeout.read) == (connect_s, timeout_s)


@pytest.mark.parametrize(("max_retries", "asked"), [(0, 1), (1, 2)])
def test_a_busy_gateway_is_asked_as_often_as_the_caller_says(
    gateway: ScriptedGateway, max_retries: int, asked: int
) -> None:
    busy = plain({"error": {"message": "busy", "type": "server_error", "param": None, "code": "x"}}, 503)
    gateway.enqueue(busy, busy)
    with (
        Groundrule(gateway.url, max_retries=max_retries) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.ask("?")
    assert len(gateway.history) == asked
