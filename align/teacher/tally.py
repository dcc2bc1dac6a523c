"""What this attempt at a stage has asked and spent: counted live, summed up for the stage's report."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

from pydantic import BaseModel, ConfigDict

from align.teacher.ledger import Charge, Spent

NOT_PRICED = "not priced"


class RoleCalls(BaseModel):
    """What one role, or all of them, were asked in one attempt at a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    calls: int
    """Requests that were sent, each counted once."""
    hits: int
    """Requests that needed no call: their reply, or the word that there will be none, was kept."""
    retries: int
    """Further attempts at the same requests."""
    rejected: int
    unavailable: int
    estimated: int
    """Attempts that are charged at their worst case: servers did not say what they took."""
    prompt_tokens: int
    completion_tokens: int
    money: float | None
    """None where a model has no price."""


class StageCalls(RoleCalls):
    """The sum over roles, and each of them."""

    currency: str
    by_role: dict[str, RoleCalls]
    seconds: float

    def as_line(self) -> str:
        """For a progress bar: `4,211 calls, 120 hits, 3 retries, 1.2 M tokens, 3.41 USD`."""
        tokens = _short(self.prompt_tokens + self.completion_tokens)
        money = NOT_PRICED if self.money is None else _amount(self.money, self.currency)
        return f"{self.calls:,} calls, {self.hits:,} hits, {self.retries:,} retries, {tokens} tokens, {money}"


@dataclass
class Counts:
    """Of one role."""

    money: float | None
    """0 where its model has a price, None where not."""
    calls: int = 0
    hits: int = 0
    retries: int = 0
    rejected: int = 0
    unavailable: int = 0
    estimated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def charge(self, charge: Charge) -> None:
        """Add what an attempt took."""
        self.prompt_tokens += charge.prompt_tokens
        self.completion_tokens += charge.completion_tokens
        self.estimated += not charge.certain
        if self.money is not None:
            self.money += charge.money or 0

    def frozen(self) -> RoleCalls:
        return RoleCalls(**asdict(self))


@dataclass
class Tally:
    """All roles of a desk."""

    currency: str
    spent_by_run: Callable[[], Spent]
    by_role: dict[str, Counts] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def calls(self) -> int:
        return self._sum().calls

    @property
    def hits(self) -> int:
        return self._sum().hits

    @property
    def retries(self) -> int:
        return self._sum().retries

    @property
    def prompt_tokens(self) -> int:
        return self._sum().prompt_tokens

    @property
    def completion_tokens(self) -> int:
        return self._sum().completion_tokens

    @property
    def money(self) -> float | None:
        return self._sum().money

    @property
    def spent(self) -> Spent:
        """Over all attempts at the run."""
        return self.spent_by_run()

    def summary(self) -> StageCalls:
        """For the stage's report."""
        by_role = {name: counts.frozen() for name, counts in self.by_role.items()}
        seconds = round(time.monotonic() - self.began, 3)
        return StageCalls(
            **_sum(by_role.values()).model_dump(), currency=self.currency, by_role=by_role, seconds=seconds
        )

    def as_line(self) -> str:
        """For a progress bar."""
        return self.summary().as_line()

    def _sum(self) -> RoleCalls:
        return _sum([counts.frozen() for counts in self.by_role.values()])


def together(parts: Iterable[StageCalls]) -> StageCalls:
    """What several workers asked at the same time, as one."""
    parts = list(parts)
    names = list(dict.fromkeys(name for part in parts for name in part.by_role))
    by_role = {name: _sum([part.by_role[name] for part in parts if name in part.by_role]) for name in names}
    return StageCalls(
        **_sum(by_role.values()).model_dump(),
        currency=parts[0].currency,
        by_role=by_role,
        seconds=max(part.seconds for part in parts),
    )


def _sum(parts: Iterable[RoleCalls]) -> RoleCalls:
    parts = list(parts)
    names = RoleCalls.model_fields.keys() - {"money"}
    amounts = {name: sum(getattr(part, name) for part in parts) for name in names}
    # A role that took nothing does not make the sum unknown, unless nobody took anything.
    charged = [part for part in parts if part.prompt_tokens + part.completion_tokens] or parts
    prices = [part.money for part in charged]
    known = [money for money in prices if money is not None]
    return RoleCalls(**amounts, money=sum(known) if len(known) == len(prices) else None)


def _short(number: int) -> str:
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def _amount(money: float, currency: str) -> str:
    return f"under 0.01 {currency}" if 0 < money < 0.01 else f"{money:,.2f} {currency}"
