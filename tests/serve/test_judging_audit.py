"""Claims about the audit of those who are judged, and of those who are refused for want of room."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from serve.gate.values import Mode, Stage
from serve.ledger.interaction import Interaction
from tests.fakes.scripted_engine import Scripted, ScriptedEngine
from tests.serve.answering import Answering, Said, ScriptedGuard, answering
from tests.serve.audit_rows import AWAY
from tests.serve.audited import added_keys, audit, errors_in, headers_of, json_of, measured, only_row
from tests.serve.gateways import ALIAS, PATIENCE_S, ask, eventually, running_gateway, settings_for
from tests.serve.judging import COMPLIES, REFUSES, Judging, judging

GUARDRAIL = "/beta/litellm_basic_guardrail_api"
BODIES = {
    "/v1/chat/completions": ask(),
    "/v1/responses": {"input": "What is this?"},
    "/v1/moderations": {"input": "What is this?"},
    GUARDRAIL: {"texts": ["What is this?"], "input_type": "request"},
}
JUDGED = tuple(BODIES)[2:]
TAKES_S = 0.4


@pytest.fixture(scope="module")
def around() -> Iterator[Answering]:
    with answering(ScriptedGuard(Stage.INPUT, takes_s=TAKES_S)) as running:
        yield running


async def judge(asked: Judging, path: str) -> httpx.Response:
    """Four texts: moderations show them to the model side by side, the guardrail to its guards."""
    texts = [f"Text {number}." for number in range(4)]
    return await (asked.moderate(texts) if path == "/v1/moderations" else asked.guard(texts=texts))


def row_of(around: Answering) -> Interaction:
    (row,) = around.ledger.rows
    return row


@pytest.mark.anyio
@pytest.mark.parametrize("path", JUDGED)
async def test_overhead_is_what_neither_model_nor_guards_took(around: Answering, path: str) -> None:
    async with judging(around) as asked:
        around.say(*[Said(COMPLIES, pause_s=TAKES_S)] * 4)
        assert (await judge(asked, path)).status_code == 200
    row = row_of(around)
    assert 0 < row.overhead_s <= row.duration_s - TAKES_S


@pytest.mark.anyio
@pytest.mark.parametrize("path", JUDGED)
async def test_a_bug_while_judging_is_ours_for_the_caller_and_in_the_audit(
    around: Answering, path: str
) -> None:
    async with judging(around) as asked:
        around.say(Said(dies_after=0, error=ZeroDivisionError()))
        # The server logs it; this caller sees what those behind one see.
        asked.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(asked.app, raise_app_exceptions=False), base_url="http://gateway"
        )
        async with asked.client:
            answer = await judge(asked, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert (row_of(around).status, row_of(around).outcome) == (500, "internal_error")


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judging") / "state"


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedEngine]:
    with ScriptedEngine().running() as engine:
        yield engine


@pytest.fixture(scope="module")
def judges(model: ScriptedEngine, bundle: Path, state_dir: Path) -> Iterator[dict[str, httpx.Client]]:
    """Clients of one gateway, by their keys' mode."""
    settings = settings_for(model, bundle, ledger={}, state_dir=state_dir, gate={"mode": "enforce"})
    modes = {"observe": Mode.OBSERVE, "enforce": None, "stricter": Mode.STRICTER}
    keys = added_keys(settings, **{name: {"mode": mode} for name, mode in modes.items()})
    with running_gateway(settings, model) as gateway, ExitStack() as stack:
        clients = {
            name: httpx.Client(base_url=gateway.url, headers=headers_of(key, name), timeout=PATIENCE_S)
            for name, key in keys.items()
        }
        yield {name: stack.enter_context(client) for name, client in clients.items()}


@pytest.mark.parametrize("path", JUDGED)
@pytest.mark.parametrize("mode", ["observe", "enforce", "stricter"])
def test_a_row_names_the_mode_that_holds_for_its_key(
    judges: dict[str, httpx.Client], state_dir: Path, mode: str, path: str
) -> None:
    request_id = mode + path.replace("/", "-")
    headers = {"x-request-id": request_id}
    assert judges[mode].post(path, json=BODIES[path], headers=headers).status_code == 200
    assert only_row(state_dir, request_id)["mode"] == mode


@pytest.mark.parametrize(
    ("mode", "told", "noted"),
    [
        ("observe", "NONE", ("none", "withheld")),
        ("enforce", "BLOCKED", ("withheld", None)),
        ("stricter", "BLOCKED", ("withheld", None)),
    ],
)
def test_what_the_guardrail_finds_passes_with_a_key_that_observes_and_is_noted(
    judges: dict[str, httpx.Client],
    model: ScriptedEngine,
    state_dir: Path,
    mode: str,
    told: str,
    noted: tuple[str, str | None],
) -> None:
    counted, request_id = would_block(judges[mode]), f"found-{mode}"
    model.enqueue(Scripted(REFUSES))
    answer = judges[mode].post(GUARDRAIL, json=BODIES[GUARDRAIL], headers={"x-request-id": request_id})
    assert (answer.status_code, answer.json()["action"]) == (200, told)
    (choice,) = json_of(only_row(state_dir, request_id)["choices"])
    assert (choice["verdict"], (choice["action"], choice["would"])) == ("refuse", noted)
    assert would_block(judges[mode]) - counted == (mode == "observe")


def would_block(client: httpx.Client) -> float:
    series = f'groundrule_would_block_total{{alias="{ALIAS}",stage="input"}}'
    return measured(client).get(series, 0)


def test_moderations_tell_what_they_find_to_a_key_that_observes(
    judges: dict[str, httpx.Client], model: ScriptedEngine
) -> None:
    model.enqueue(Scripted(REFUSES))
    answer = judges["observe"].post("/v1/moderations", json=BODIES["/v1/moderations"])
    assert answer.json()["results"][0]["flagged"] is True


def test_whoever_is_refused_for_want_of_a_row_leaves_none_and_others_keep_theirs(
    engine: ScriptedEngine, bundle: Path, tmp_path: Path
) -> None:
    """Else refusals would fill the disk, and a row that cannot be kept would count as lost."""
    key, state_dir = "k" * 16, tmp_path / "state"
    ledger = {"url": SecretStr(AWAY), "content": True, "most_spooled_mib": 1}
    settings = settings_for(engine, bundle, ledger=ledger, state_dir=state_dir, api_keys=SecretStr(key))
    with running_gateway(settings, engine) as gateway, httpx.Client(base_url=gateway.url) as client:
        client.timeout = PATIENCE_S
        engine.enqueue(Scripted(stalls_after=14), Scripted())
        body, headers = ask("I was first.", stream=True), headers_of(key, "under-way")
        with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            lines = response.iter_lines()  # dropped, it would close the connection
            next(lines)
            fills = client.post(
                "/v1/chat/completions", json=ask("x" * 1_100_000), headers=headers_of(key, "fills")
            )
            assert fills.status_code == 200
            only_row(state_dir, "fills")
            for path, refused_body in BODIES.items():
                refused = client.post(path, json=refused_body, headers=headers_of(key, "refused"))
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "audit_unavailable")
                assert refused.headers["retry-after"] == "30"
        only_row(state_dir, "under-way")
        counted = measured(client)
    assert errors_in(counted) == {"audit_unavailable": 4}
    assert counted[f'groundrule_requests_total{{alias="{ALIAS}",outcome="audit_unavailable"}}'] == 2
    assert counted['groundrule_ledger_rows_total{outcome="written"}'] == 2
    assert counted['groundrule_ledger_rows_total{outcome="dropped"}'] == 0
    assert len(engine.history) == 2
    with running_gateway(settings.model_copy(update={"ledger": type(settings.ledger)()}), engine):
        eventually(lambda: not list((state_dir / "spool").glob("*.jsonl")))
    assert sorted(row["request_id"] for row in audit(state_dir)) == ["fills", "under-way"]
