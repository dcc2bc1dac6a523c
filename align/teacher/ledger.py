"""What a run has spent and may still spend, in money and tokens, over all attempts at it together.

Before a request goes out its worst case is reserved; once its cost is known, that is put in its place.
Where a reservation would pass a limit it waits for those before it, most of which turn out cheaper; when
there are none left, that is the end. So a limit holds as long as servers report what was estimated or
less, and whoever stops at it leaves nothing under way. A price that nobody stated is not 0: it is None.
"""

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from align.errors import RecipeError, StageAborted
from align.recipe_tables import Budget, Price
from align.records import Usage

PER_PRICE = 1_000_000
"""Prices are for so many tokens."""


class BudgetExhausted(StageAborted):
    """The next call could cost more than is left."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What one attempt costs, or may have cost."""

    id: str
    key: str
    """Of the request."""
    role: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    money: float | None
    """In the budget's currency; None for a model without a price."""
    certain: bool = False
    """Whether the server said so; otherwise it is the worst case."""

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Spending:
    """Charges of one model, added up: those that had a price, or those that had none."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    money: float | None


@dataclass(frozen=True, slots=True)
class Spent:
    """A sum over models."""

    tokens: int
    money: float | None
    """None where part of it has no price."""


def cost(price: Price | None, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Money for tokens; None without a price."""
    if price is None:
        return None
    return (price.input * prompt_tokens + price.output * completion_tokens) / PER_PRICE


class Ledger:
    """Holds spending to a budget; one of several workers gets an even part of what was left before them."""

    def __init__(
        self,
        budget: Budget,
        prices: Mapping[str, Price],
        before: Iterable[Spending] = (),
        own: Iterable[Spending] = (),
        of: int = 1,
    ) -> None:
        """`before` is what the run had spent before its workers began, `own` what this one spent since."""
        self._budget = budget
        self._prices = prices
        start, mine = self._sum(before), self._sum(own)
        self._tokens = start.tokens + mine.tokens
        self._money = None if start.money is None or mine.money is None else start.money + mine.money
        self._most_tokens = _part(budget.tokens, start.tokens, of)
        self._most_money = _part(budget.money, start.money, of)
        self._of = of
        self._reserved_tokens = 0
        self._reserved_money = 0.0
        self._reservations = 0
        self._settled = asyncio.Event()
        self._exhausted: str | None = None
        self._opening = uuid.uuid4().hex[:16]
        self._numbers = count()

    @property
    def spent(self) -> Spent:
        """In all attempts at the run, without what is under way."""
        return Spent(self._tokens, self._money)

    def worst_case(
        self, key: str, role: str, model: str, prompt_tokens: int, completion_tokens: int
    ) -> Charge:
        """A charge for a request that is about to go out."""
        money = cost(self._prices.get(model), prompt_tokens, completion_tokens)
        id_ = f"{self._opening}-{next(self._numbers):08}"
        return Charge(id_, key, role, model, prompt_tokens, completion_tokens, money)

    async def reserve(self, charge: Charge) -> None:
        """Returns when the charge fits beside all others; BudgetExhausted when it never will."""
        while self._exhausted or not self._fits(charge):
            if self._exhausted or not self._reservations:
                self._exhausted = self._exhausted or self._no_room_for(charge)
                raise BudgetExhausted(self._exhausted)
            self._settled.clear()
            await self._settled.wait()
        self._reservations += 1
        self._reserved_tokens += charge.tokens
        self._reserved_money += charge.money or 0

    def settle(self, charge: Charge, usage: Usage | None) -> Charge:
        """Book what the attempt took, the worst case where the server did not say; gives the final charge."""
        if usage is not None:
            read, written = usage.prompt_tokens, usage.completion_tokens
            money = cost(self._prices.get(charge.model), read, written)
            final = replace(charge, prompt_tokens=read, completion_tokens=written, money=money, certain=True)
        else:
            final = charge
        self.release(charge)
        self._tokens += final.tokens
        self._money = None if self._money is None or final.money is None else self._money + final.money
        return final

    def release(self, charge: Charge) -> None:
        """The attempt cost nothing."""
        self._reservations -= 1
        self._reserved_tokens -= charge.tokens
        # Not what rounding leaves of sums, once nothing is reserved.
        self._reserved_money = self._reserved_money - (charge.money or 0) if self._reservations else 0.0
        self._settled.set()

    def _fits(self, charge: Charge) -> bool:
        tokens = self._tokens + self._reserved_tokens + charge.tokens
        if self._most_tokens is not None and tokens > self._most_tokens:
            return False
        if self._most_money is None:
            return True
        return (self._money or 0) + self._reserved_money + (charge.money or 0) <= self._most_money

    def _no_room_for(self, charge: Charge) -> str:
        whose = "the budget" if self._of == 1 else f"this worker's part of the budget (1 of {self._of})"
        if self._most_tokens is not None and self._tokens + charge.tokens > self._most_tokens:
            said = f"{self._tokens:,} of {self._most_tokens:,.0f} tokens are spent"
            then, key = f"up to {charge.tokens:,}", "budget.tokens"
        else:
            currency = self._budget.currency
            said = f"{self._money or 0:,.2f} of {self._most_money:,.2f} {currency} are spent"
            then, key = f"up to {charge.money:.2g} {currency}", "budget.money"
        return (
            f"{whose} is used up: {said}, and the next call could take {then}; raise {key} in the recipe and "
            "run again: what was paid for is kept"
        )

    def _sum(self, spendings: Iterable[Spending]) -> Spent:
        tokens, money = 0, 0.0
        unpriced = None
        for spending in spendings:
            tokens += spending.prompt_tokens + spending.completion_tokens
            price = self._prices.get(spending.model)
            paid = spending.money
            if paid is None:  # asked before the recipe had a price for it
                paid = cost(price, spending.prompt_tokens, spending.completion_tokens)
            if paid is None:
                unpriced = spending.model
            money += paid or 0
        if unpriced is not None and self._budget.money is not None:
            raise RecipeError(
                f"budget.money cannot be kept: {unpriced!r} was asked earlier in this run without a price; "
                f"state one under [prices], or leave budget.money out"
            )
        return Spent(tokens, None if unpriced is not None else money)


def _part(limit: float | None, spent: float | None, of: int) -> float | None:
    """A worker's limit: what all had spent, and its part of the rest."""
    if limit is None or spent is None:
        return None
    return spent + (limit - spent) / of
