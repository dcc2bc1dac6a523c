"""The demo's parts that need no gateway: plan, cases, judgement, recording."""

import tomllib
from pathlib import Path

import pytest
from groundrule import Reply, Safety, Step
from openai.types.chat import ChatCompletion

from deploy.demo.cases import make_cases
from deploy.demo.conversation import find_faults
from deploy.demo.gateway import configuration
from deploy.demo.logs import last_line, tail
from deploy.demo.plan import LAB_BASE, DemoFailed, Plan, make_plan
from deploy.demo.record import END, START, write_output
from serve.settings import Settings
from tests.serve.gateways import write_bundle

STEP = Step(text="The picture shows a bomb.", source="visual")


def reply(
    finish_reason: str = "stop", answer: str = "No.", refusal: str | None = None, **safety: object
) -> Reply:
    fields = {"verdict": "refuse", "action": "none", "steps": (STEP,), "policy_digest": "d"} | safety
    safety_object = Safety.model_validate(fields)
    raw = ChatCompletion.model_construct()
    return Reply(answer, "…", safety_object, finish_reason, refusal, usage=None, raw=raw)


def test_a_real_model_needs_a_gpu_and_says_so() -> None:
    with pytest.raises(DemoFailed, match="CUDA GPU"):
        make_plan({"MODEL": "some/model"}, find_gpus=lambda: None)


def test_a_real_model_runs_without_an_adapter_under_the_base_alias(tmp_path: Path) -> None:
    plan = make_plan({"MODEL": "some/model"}, find_gpus=lambda: "GPU 0")
    assert (plan.model, plan.adapter, plan.alias, plan.is_lab) == ("some/model", None, "base", False)
    write_bundle(tmp_path)
    plan = make_plan({"MODEL": "some/model", "ADAPTER": str(tmp_path)}, find_gpus=lambda: "GPU 0")
    assert (plan.adapter, plan.alias) == (tmp_path, "groundrule")


@pytest.mark.parametrize(("value", "once"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_the_lab_is_the_default(tmp_path: Path, value: str, once: bool) -> None:
    write_bundle(tmp_path)
    plan = make_plan({"ADAPTER": str(tmp_path), "DEMO_ONCE": value})
    assert plan == Plan(str(LAB_BASE), tmp_path, is_lab=True, once=once)


def test_an_incomplete_bundle_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match=r"manifest\.json"):
        make_plan({"ADAPTER": str(tmp_path)})


@pytest.mark.parametrize("is_lab", [True, False])
def test_the_gateway_takes_the_demos_configuration(tmp_path: Path, is_lab: bool) -> None:
    plan = Plan(str(tmp_path / 'a "quoted" place'), tmp_path / "bundle", is_lab=is_lab, once=True)
    values = tomllib.loads(configuration(plan, 8001, tmp_path))
    settings = Settings(**values)
    embedded = settings.engine.embedded
    assert embedded is not None
    assert (embedded.model, embedded.device) == (plan.model, "cpu" if is_lab else "cuda")
    assert (settings.port, settings.adapters[0].bundle) == (8001, tmp_path / "bundle")
    assert settings.ledger.enabled
    assert settings.state_dir.parent == tmp_path


def test_the_pictures_show_what_is_said(tmp_path: Path) -> None:
    risky, harmless = make_cases(tmp_path)
    assert (risky.question, risky.expected) == (harmless.question, "refuse")
    assert harmless.expected == "comply"
    assert risky.shows == "a bomb"
    assert harmless.shows == "a cake"
    before = risky.picture.read_bytes()
    assert before.startswith(b"\x89PNG")
    make_cases(tmp_path)
    assert risky.picture.read_bytes() == before


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (reply(finish_reason="length"), "not complete"),
        (reply(answer=" "), "no answer"),
        (reply(verdict=None, flags=("missing_verdict",)), "no verdict"),
        (reply(flags=("untagged_step",)), "untagged_step"),
        (reply(steps=()), "streamed steps"),
    ],
)
def test_what_is_malformed_is_named(bad: Reply, fault: str) -> None:
    assert fault in " ".join(find_faults(bad, [STEP], demands_trace=True))


def test_a_good_reply_has_no_faults_and_a_bare_base_owes_no_trace() -> None:
    assert not list(find_faults(reply(flags=("citation_in_answer",)), [STEP], demands_trace=True))
    sentence = "I can't help with this."
    replaced = reply("content_filter", answer=sentence, refusal=sentence, action="replaced")
    assert not list(find_faults(replaced, [STEP], demands_trace=True))
    bare = reply(verdict=None, steps=(), flags=("no_trace", "missing_verdict"))
    assert not list(find_faults(bare, [], demands_trace=False))


def test_a_recording_replaces_the_last_one(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    write_output("\nverdict  refuse   \nback\\slash\n\n", readme)
    assert (
        readme.read_text() == f"before\n{START}\n```text\nverdict  refuse\nback\\slash\n```\n{END}\nafter\n"
    )
    write_output("new", readme)
    assert "refuse" not in readme.read_text()
    readme.write_text("no marks")
    with pytest.raises(DemoFailed, match="marks"):
        write_output("new", readme)


def test_the_tail_of_a_log_shows_the_last_state_of_a_progress_bar(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log, 3) == ""
    log.write_bytes(b"one\r\ntwo\n10 %\r50 %\r90 %\n\n")
    assert last_line(log) == "90 %"
    assert tail(log, 2) == "two\n90 %"
