"""The last stages with training and gateway scripted: adapters, bundles and report cards hang together."""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from align.errors import RecipeError, StageAborted
from align.graph import Span
from align.manifest import StaleStage
from align.mini.oracle import Oracle, read_messages
from align.mini.replies import oracle_trace
from align.mini.trained import BASE_ADAPTER, TOWER, WEIGHTS
from align.mini.world import situations
from align.records import Dropped, Pair, SftRow
from align.run import run
from align.stages.base_model import base_digest
from align.stages.workspace import Workspace
from align.training_tables import Training
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE, read_bundle
from policies.catalog import load_catalog
from tests.align.recipes import recipe
from tests.align.tiny_bases import tiny_base


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base("Qwen2_5_VLForConditionalGeneration", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def base(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "base-model"))


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Path, Path]]:
    """Training takes minutes: its place is taken by a script that writes an adapter's two files."""
    history: list[tuple[int, Path, Path]] = []

    def train_adapter(
        rows: Sequence[SftRow | Pair],
        images_root: Path,
        settings: Training,
        base: Path,
        *adapters: Path,
        reasoning_format: str,
    ) -> tuple[list[float], list[Dropped]]:
        assert reasoning_format == "think"
        assert all((images_root / row.image).is_file() for row in rows)
        *before, out = adapters
        assert all(read_weights(adapter) == b"weights" for adapter in before)
        (out / CONFIG_FILE).write_text(json.dumps({"learning_rate": settings.learning_rate}))
        (out / WEIGHTS_FILE).write_bytes(b"weights")
        history.append((len(rows), base, out))
        return [1.0], []

    monkeypatch.setattr("align.train.sft.train_adapter", train_adapter)
    monkeypatch.setattr("align.train.srpo.prefer", train_adapter)
    return history


def read_weights(adapter: Path) -> bytes:
    return (adapter / WEIGHTS_FILE).read_bytes()


class Gateway:
    """Answers as the gateway does, with the truth of the test split; or with something unreadable."""

    def __init__(self, *, readable: bool = True, failures: Iterable[int] = ()) -> None:
        self._oracle = Oracle(situations("test", 12))
        self._readable = readable
        self._failures = iter(failures)
        """Statuses that come first, instead of replies."""
        self.models: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.models.add(body["model"])
        if status := next(self._failures, None):
            return web.json_response({"error": {}}, status=status, headers={"retry-after-ms": "1"})
        situation = self._oracle.situation(read_messages(body["messages"]))
        assert situation
        trace = oracle_trace(situation)
        policies = sorted({citation.clause.split(".")[0] for citation in trace.citations})
        message: dict[str, Any] = {
            "role": "assistant",
            "content": trace.answer if self._readable else "Hm.",
            "reasoning": "\n".join(step.text for step in trace.steps),
            "safety": {"verdict": trace.verdict, "policies": policies, "flags": []},
        }
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"]}
        return web.json_response(head | {"choices": [choice]})


@pytest.fixture
def start() -> Iterator[Any]:
    """Start a gateway in a thread of its own; gives its base URL."""
    runner, stop, ready = asyncio.Runner(), asyncio.Event(), threading.Event()
    found: list[str] = []
    threads: list[threading.Thread] = []

    async def main(gateway: Gateway) -> None:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/v1/chat/completions", gateway.answer)
        site_runner = web.AppRunner(app, access_log=None)
        await site_runner.setup()
        await web.TCPSite(site_runner, "127.0.0.1", 0).start()
        found.append(f"http://127.0.0.1:{site_runner.addresses[0][1]}/v1")
        ready.set()
        await stop.wait()
        await site_runner.cleanup()

    def start(gateway: Gateway) -> str:
        threads.append(threading.Thread(target=lambda: runner.run(main(gateway))))
        threads[0].start()
        assert ready.wait(10)
        return found[0]

    yield start
    for thread in threads:
        runner.get_loop().call_soon_threadsafe(stop.set)
        thread.join(10)
    runner.close()


def changes(base: Path, url: str) -> dict[str, str]:
    return {
        'base = "mini"': f'base = "{base}"',
        "concurrency = 2\n": f'concurrency = 2\nbase_url = "{url}"\n',
    }


def test_a_whole_run_ends_with_two_bundles_that_carry_their_report_cards(
    base: Path, training: list[tuple[int, Path, Path]], start: Any, tmp_path: Path
) -> None:
    gateway = Gateway()
    settings = recipe(tmp_path, changes(base, start(gateway)))
    run(settings, tmp_path / "run")
    run(settings, tmp_path / "run")
    assert training == [
        (20, base, tmp_path / "run" / "sft" / "adapter"),
        (24, base, tmp_path / "run" / "srpo" / "adapter"),
    ]
    assert gateway.models == {"base", "pst-sft", "pst"}
    manifest = read_bundle(tmp_path / "run" / "bundle" / "pst-sft")
    assert (manifest.name, manifest.base.id) == ("pst-sft", "base-model")
    assert manifest.policy_digest == load_catalog().digest
    assert manifest.seeds == {"data": 1, "sft": 1}
    pst = read_bundle(tmp_path / "run" / "bundle" / "pst")
    assert pst.seeds == {"data": 1, "sft": 1, "srpo": 1}
    assert pst.recipe_digest != manifest.recipe_digest
    assert pst.data_digest != manifest.data_digest
    cards = json.loads((tmp_path / "run" / "evaluate" / "report_cards.json").read_text())
    assert set(cards) == {"base", "pst-sft", "pst"}
    card = manifest.report_card
    assert card
    assert pst.report_card
    assert (card.n, card.parsed.value, card.named_subject.value) == (12, 1.0, 1.0)


def test_without_a_gateway_the_run_says_which_bundles_to_serve_and_goes_on_later(
    base: Path, training: list[tuple[int, Path, Path]], start: Any, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"no gateway at http://127.0.0.1:9/v1 serves 'base'"):
        run(recipe(tmp_path, changes(base, "http://127.0.0.1:9/v1")), tmp_path / "run")
    run(recipe(tmp_path, changes(base, start(Gateway()))), tmp_path / "run")
    assert len(training) == 2


def test_what_a_base_of_ones_own_says_in_its_own_words_is_not_counted_as_anything(
    base: Path, training: list[tuple[int, Path, Path]], start: Any, tmp_path: Path
) -> None:
    run(recipe(tmp_path, changes(base, start(Gateway(readable=False)))), tmp_path / "run")
    card = read_bundle(tmp_path / "run" / "bundle" / "pst-sft").report_card
    assert card
    assert (card.harmful_rate, card.refusal_rate, card.unscored) == (None, None, 12)
    assert (card.parsed.value, card.named_subject.value) == (1.0, 1.0)
    assert "align evaluate" in card.judge


def test_a_passing_failure_of_the_gateway_costs_no_reply(
    base: Path, training: list[tuple[int, Path, Path]], start: Any, tmp_path: Path
) -> None:
    run(recipe(tmp_path, changes(base, start(Gateway(failures=[503, 504, 502])))), tmp_path / "run")
    card = read_bundle(tmp_path / "run" / "bundle" / "pst-sft").report_card
    assert card
    kept = (tmp_path / "run" / "evaluate" / "replies-pst-sft.jsonl").read_text().splitlines()
    assert [json.loads(line)["failure"] for line in kept] == [None] * 12


def test_replies_that_never_come_are_kept_with_what_came_instead(
    base: Path, training: list[tuple[int, Path, Path]], start: Any, tmp_path: Path
) -> None:
    with pytest.raises(StageAborted, match=r"12 of 12 .*; 12 never came, the first: Error code: 400"):
        run(recipe(tmp_path, changes(base, start(Gateway(failures=repeat(400))))), tmp_path / "run")
    kept = (tmp_path / "run" / "evaluate" / "replies-base.jsonl").read_text().splitlines()
    assert {(json.loads(line)["outcome"], json.loads(line)["failure"][:15]) for line in kept} == {
        ("unscored", "Error code: 400")
    }


def test_a_training_killed_half_way_begins_anew(
    base: Path, training: list[tuple[int, Path, Path]], tmp_path: Path
) -> None:
    settings = recipe(tmp_path, changes(base, "http://127.0.0.1:9/v1"))
    half = tmp_path / "run" / "sft" / "adapter"
    run(settings, tmp_path / "run", Span(last="select"))
    half.mkdir(parents=True)
    (half / WEIGHTS_FILE).write_bytes(b"half")
    run(settings, tmp_path / "run", Span(last="bundle"))
    assert (tmp_path / "run" / "bundle" / "pst-sft" / WEIGHTS_FILE).read_bytes() == b"weights"


def test_an_adapter_is_stale_once_the_base_model_is_another(
    base: Path, training: list[tuple[int, Path, Path]], tmp_path: Path
) -> None:
    (base / "model.safetensors").write_bytes(b"one")
    settings = recipe(tmp_path, changes(base, "http://127.0.0.1:9/v1"))
    run(settings, tmp_path / "run", Span(last="bundle"))
    (base / "README.md").write_text("about")
    (base / "model.safetensors").touch()
    run(settings, tmp_path / "run", Span(last="bundle"))
    assert len(training) == 2
    (base / "model.safetensors").write_bytes(b"two")
    with pytest.raises(StaleStage, match=r"sft was made before these changed: base model\..* --from sft"):
        run(settings, tmp_path / "run", Span(last="bundle"))
    run(settings, tmp_path / "run", Span("sft", "bundle"))
    assert len(training) == 4


@pytest.mark.parametrize("part", ["tower.safetensors", "reasoner/adapter_model.safetensors"])
def test_the_labs_base_is_another_once_any_part_was_trained_anew(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(WEIGHTS, weights)
    monkeypatch.setattr("align.stages.base_model.TOWER", weights / TOWER.name)
    monkeypatch.setattr("align.stages.base_model.BASE_ADAPTER", weights / BASE_ADAPTER.name)
    workspace = Workspace(recipe(tmp_path), load_catalog(), tmp_path / "run")
    before = base_digest(workspace)
    assert base_digest(workspace) == before
    (weights / part).write_bytes(b"trained anew")
    assert base_digest(workspace) != before
