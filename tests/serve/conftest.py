"""A scripted engine, a gateway in front of it, and (for the engine marker) the real thing."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from serve.settings import ENV_PREFIX
from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.databases import database_url, postgres
from tests.serve.gateways import Gateway, running_gateway, settings_for, write_bundle
from tests.serve.guarded import guarded_gateway
from tests.serve.programs import Program, running_program

__all__ = ["database_url", "postgres"]
"""Fixtures from elsewhere; here, so that PostgreSQL starts once, whoever asks for it."""

Start = Callable[..., AbstractContextManager[Gateway]]


@pytest.fixture(scope="session", autouse=True)
def _nothing_from_outside() -> Iterator[None]:
    """Neither settings nor proxies of the machine the tests run on."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(ENV_PREFIX) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "pst"
    write_bundle(directory)
    return directory


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine().running() as engine:
        yield engine


@pytest.fixture
def engines() -> Iterator[list[ScriptedEngine]]:
    """Two replicas."""
    with ExitStack() as stack:
        yield [stack.enter_context(ScriptedEngine().running()) for _ in range(2)]


@pytest.fixture
def start(engine: ScriptedEngine, bundle: Path) -> Start:
    """Start a gateway of this test's own, with changed settings."""

    def start(*, ready: bool = True, **changes: Any) -> AbstractContextManager[Gateway]:
        return running_gateway(settings_for(engine, bundle, **changes), engine, ready=ready)

    return start


@pytest.fixture
def fresh_gateway(start: Start) -> Iterator[Gateway]:
    """A gateway that nobody has asked anything yet."""
    with start() as gateway:
        yield gateway


@pytest.fixture(scope="session")
def shared_gateway(bundle: Path) -> Iterator[Gateway]:
    with (
        ScriptedEngine().running() as engine,
        running_gateway(settings_for(engine, bundle), engine) as gateway,
    ):
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """A gateway with an empty script and history; its metrics are everybody's."""
    shared_gateway.engine.replies.clear()
    shared_gateway.engine.history.clear()
    return shared_gateway


@pytest.fixture(scope="module")
def guarded(bundle: Path) -> Iterator[Gateway]:
    """One that enforces, with a guard of patterns."""
    with guarded_gateway(bundle) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def live_gateway(
    mini_base: Path, mini_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    """`python -m serve` with the real vLLM (built for the CPU, GPU or not) and the mini model; ready."""
    directory = tmp_path_factory.mktemp("live")
    # On every core, its waiting threads would take turns with the tests of the other worker.
    one_core = f'threads = "{min(os.sched_getaffinity(0))}"' if "PYTEST_XDIST_WORKER" in os.environ else ""
    config = directory / "gateway.toml"
    config.write_text(
        f"""
        port = 0
        [engine.embedded]
        device = "cpu"
        model = {str(mini_base)!r}
        max_model_len = 2048
        {one_core}
        log = {str(directory / "engine.log")!r}
        [[adapters]]
        bundle = {str(mini_bundle)!r}
        """
    )
    with running_program(["-m", "serve", "--config", str(config)], directory / "gateway.log") as program:
        program.wait_ready(600)
        yield program
