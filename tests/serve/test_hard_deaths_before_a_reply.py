"""Claims about engines that die before their reply has begun: it is asked for again, or is a status."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.scripted_engine import Scripted
from tests.serve.deaths import (
    CHAT,
    FAILED,
    REPLY,
    WHOLE,
    Told,
    World,
    asked,
    assert_refused,
    histories,
    opened,
    opened_worlds,
)

UNBEGUN: Mapping[str, Scripted | None] = {
    "before the headers": None,
    "behind the headers": replace(REPLY, dies_after=0),
    "before the first chunk": replace(REPLY, dies_after=0, extra_bytes=b": I am thinking\n\n"),
}
"""Nothing of the reply is there; None: it hangs up."""
TRIES = 3
"""Of a pool, unless its settings say otherwise."""


@pytest.fixture(scope="module")
def worlds(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[int, World]]:
    with opened_worlds(bundle, tmp_path_factory.mktemp("deaths")) as worlds:
        yield worlds


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("death", UNBEGUN)
def test_another_replica_answers_what_had_not_begun(
    worlds: Mapping[int, World], death: str, stream: bool
) -> None:
    world = worlds[2]
    world.first.dies(UNBEGUN[death])
    it = asked(world, CHAT, stream=stream)
    assert it.told == WHOLE
    assert histories(world) == [1, 1]
    assert (it.row["outcome"], it.row["status"]) == ("ok", 200)
    assert it.counted == {"request ok": 1, "try not_begun": 1, "try began": 1}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("death", UNBEGUN)
def test_an_only_replica_is_asked_again(worlds: Mapping[int, World], death: str, stream: bool) -> None:
    world = worlds[1]
    world.first.dies(UNBEGUN[death])
    it = asked(world, CHAT, stream=stream)
    assert it.told == WHOLE
    assert histories(world) == [2]
    assert it.counted == {"request ok": 1, "try not_begun": 1, "try began": 1}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("death", UNBEGUN)
def test_an_only_replica_that_dies_every_time_is_a_status(
    worlds: Mapping[int, World], death: str, stream: bool
) -> None:
    world = worlds[1]
    world.first.dies(*[UNBEGUN[death]] * TRIES)
    it = asked(world, CHAT, stream=stream)
    assert_refused(it)
    assert histories(world) == [TRIES]
    assert it.counted == {f"request {FAILED}": 1, f"error {FAILED}": 1, "try not_begun": TRIES}


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_engine_that_takes_no_connection_is_passed_over_or_a_status(
    bundle: Path, tmp_path: Path, replicas: int
) -> None:
    with ExitStack() as stack:
        world = opened(stack, bundle, tmp_path, replicas)
        world.first.stop()
        plain, streamed = (asked(world, CHAT, stream=stream) for stream in (False, True))
    if replicas == 2:
        assert plain.told == streamed.told == WHOLE
        assert histories(world) in ([0, 2], [2, 0])
        assert plain.counted == {"request ok": 1, "try not_begun": 1, "try began": 1}
        return
    assert plain.counted == {"try not_begun": TRIES}
    for it in (plain, streamed):
        assert (it.answer.status, it.answer.retry_after) == (503, "5")
        assert it.told == Told(code="engine_unavailable")
        assert (it.row["outcome"], it.row["status"]) == ("engine_unavailable", 503)
