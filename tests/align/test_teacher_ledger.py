"""The budget: what is reserved, what is booked, where it stops, over attempts and workers."""

import asyncio

import pytest

from align.errors import RecipeError
from align.recipe_tables import Budget, Price
from align.records import Usage
from align.teacher.ledger import BudgetExhausted, Charge, Ledger, Spending, Spent

pytestmark = pytest.mark.anyio

PRICES = {"m": Price(input=2.0, output=10.0)}


def worst(ledger: Ledger, prompt_tokens: int, completion_tokens: int, model: str = "m") -> Charge:
    return ledger.worst_case("key", "teacher", model, prompt_tokens, completion_tokens)


def used(prompt_tokens: int, completion_tokens: int) -> Usage:
    return Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)


async def spend(ledger: Ledger, prompt_tokens: int, completion_tokens: int) -> None:
    charge = worst(ledger, prompt_tokens, completion_tokens)
    await ledger.reserve(charge)
    ledger.settle(charge, used(prompt_tokens, completion_tokens))


async def test_a_call_is_booked_at_what_the_server_reports() -> None:
    ledger = Ledger(Budget(money=1.0), PRICES)
    charge = worst(ledger, 100_000, 50_000)
    assert charge.money == pytest.approx(0.7)
    await ledger.reserve(charge)
    final = ledger.settle(charge, used(1_000, 500))
    assert (final.prompt_tokens, final.completion_tokens, final.certain) == (1_000, 500, True)
    assert ledger.spent == Spent(1_500, pytest.approx(0.007))


async def test_unknown_usage_is_booked_at_the_worst_case_and_says_so() -> None:
    ledger = Ledger(Budget(), PRICES)
    charge = worst(ledger, 100, 50)
    await ledger.reserve(charge)
    assert ledger.settle(charge, None) == charge
    assert not charge.certain
    assert ledger.spent == Spent(150, pytest.approx(0.0007))


async def test_a_token_limit_is_reached_exactly_and_never_passed() -> None:
    ledger = Ledger(Budget(tokens=300), {})
    await spend(ledger, 100, 100)
    with pytest.raises(BudgetExhausted) as stopped:
        await spend(ledger, 51, 50)
    assert str(stopped.value) == (
        "the budget is used up: 200 of 300 tokens are spent, and the next call could take up to 101; raise "
        "budget.tokens in the recipe and run again: what was paid for is kept"
    )
    assert ledger.spent.tokens == 200
    whole = Ledger(Budget(tokens=300), {})
    await spend(whole, 150, 150)
    assert whole.spent.tokens == 300


async def test_a_money_limit_stops_before_the_call_that_could_pass_it() -> None:
    ledger = Ledger(Budget(money=0.01, currency="EUR"), PRICES)
    await spend(ledger, 1_000, 700)  # 0.009
    with pytest.raises(
        BudgetExhausted, match=r"0.01 of 0.01 EUR are spent.*up to 0.002 EUR; raise budget.money"
    ):
        await spend(ledger, 0, 200)
    assert ledger.spent.money == pytest.approx(0.009)


async def test_after_the_stop_nothing_goes_out_however_cheap() -> None:
    ledger = Ledger(Budget(tokens=300), {})
    with pytest.raises(BudgetExhausted):
        await spend(ledger, 400, 0)
    with pytest.raises(BudgetExhausted):
        await spend(ledger, 1, 0)


async def test_a_reservation_that_does_not_fit_waits_for_those_under_way() -> None:
    ledger = Ledger(Budget(tokens=300), {})
    first, second = worst(ledger, 100, 100), worst(ledger, 100, 100)
    await ledger.reserve(first)
    waiting = asyncio.create_task(ledger.reserve(second))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    ledger.settle(first, used(50, 20))
    await asyncio.wait_for(waiting, 1)
    ledger.settle(second, used(50, 20))
    assert ledger.spent.tokens == 140


async def test_who_waits_in_vain_is_told_and_so_is_everyone_else() -> None:
    ledger = Ledger(Budget(tokens=300), {})
    first = worst(ledger, 100, 100)
    await ledger.reserve(first)
    waiting = [asyncio.create_task(ledger.reserve(worst(ledger, 100, 100))) for _ in range(3)]
    await asyncio.sleep(0.01)
    ledger.settle(first, used(100, 100))
    found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
    assert [type(error) for error in found] == [BudgetExhausted] * 3


async def test_an_attempt_that_cost_nothing_leaves_its_room_to_others() -> None:
    ledger = Ledger(Budget(tokens=200, money=0.0012), PRICES)
    for _ in range(50):
        charge = worst(ledger, 100, 100)
        await ledger.reserve(charge)
        ledger.release(charge)
    await spend(ledger, 100, 100)
    assert ledger.spent == Spent(200, pytest.approx(0.0012))


async def test_what_earlier_attempts_spent_counts() -> None:
    before = [Spending("m", 100, 50, 0.5), Spending("n", 30, 20, 0.25)]
    ledger = Ledger(Budget(tokens=300, money=1.0), PRICES, before)
    assert ledger.spent == Spent(200, 0.75)
    with pytest.raises(BudgetExhausted, match="200 of 300 tokens are spent"):
        await spend(ledger, 100, 1)


async def test_without_a_price_money_is_unknown_and_not_nothing() -> None:
    ledger = Ledger(Budget(), PRICES)
    assert ledger.spent.money == 0
    charge = worst(ledger, 10, 10, model="unpriced")
    assert charge.money is None
    await ledger.reserve(charge)
    assert ledger.settle(charge, used(10, 10)).money is None
    await spend(ledger, 10, 10)
    assert ledger.spent == Spent(40, None)


async def test_a_price_stated_later_counts_for_what_was_asked_before() -> None:
    ledger = Ledger(Budget(money=1.0), PRICES, [Spending("m", 100_000, 10_000, None)])
    assert ledger.spent.money == pytest.approx(0.3)
    with pytest.raises(RecipeError, match=r"budget.money cannot be kept: 'gone' was asked earlier"):
        Ledger(Budget(money=1.0), PRICES, [Spending("gone", 1, 1, None)])
    assert Ledger(Budget(), PRICES, [Spending("gone", 1, 1, None)]).spent == Spent(2, None)


async def test_each_of_several_workers_gets_an_even_part_of_what_is_left() -> None:
    before = [Spending("m", 100, 0, 0.0)]
    workers = [Ledger(Budget(tokens=500), {}, before, of=4) for _ in range(4)]
    for worker in workers:
        await spend(worker, 100, 0)
        with pytest.raises(BudgetExhausted, match=r"this worker's part of the budget \(1 of 4\) is used up"):
            await spend(worker, 1, 0)


async def test_a_worker_that_takes_a_dead_ones_place_has_what_that_one_left() -> None:
    before, own = [Spending("m", 100, 0, 0.0)], [Spending("m", 60, 0, 0.0)]
    ledger = Ledger(Budget(tokens=500), {}, before, own, of=4)
    await spend(ledger, 40, 0)
    with pytest.raises(BudgetExhausted):
        await spend(ledger, 1, 0)
