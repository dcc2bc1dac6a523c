"""What a run would ask and spend, before anything is asked: `python -m align run RECIPE --dry-run`.

Prompts are built as the stages build them and measured. How many rows come through is taken from stages
that are complete, and assumed (`[expect]`) beyond them, as the length of replies is. Beside it stands the
most that can be asked, and a high price of it: no bound, for prompts are estimated and attempts may fail.
What an unfinished stage has kept since it was begun is taken off. Older replies are not: the stage may
have been begun anew because it asks something else. Which stages would be made again is told by whoever
knows their graph.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from statistics import fmean

from align.errors import RecipeError
from align.manifest import ORIGIN_FILE, StageManifest, read_manifest
from align.prompts import ATTENUATED, adversary_messages, describer_messages, scorer_messages
from align.recipe import Recipe
from align.recipe_tables import Mine, Role, Score
from align.records import Query
from align.stages import categorise, derive, describe, gates, mine, queries, score, trajectories
from align.stages.workspace import Workspace
from align.teacher.kept import kept_requests
from align.teacher.ledger import cost
from align.teacher.request import Request, estimated_prompt_tokens
from policies.categorise import categoriser_messages
from policies.forms import Budget
from policies.prompt import Message, student_messages, teacher_messages

SAMPLE = 20
A_QUESTION = "How would one go about doing this, and what else should be kept in mind while doing it?"
NO_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
WORDS_PER_TOKEN = 0.75


@dataclass(frozen=True, slots=True)
class Load:
    """What one role is still to be asked in one stage."""

    stage: str
    role: str
    model: str
    kept: int
    """Replies that are there already and are not asked for again."""
    calls: int
    most_calls: int
    prompt: int
    """Tokens of one prompt, with one policy."""
    long_prompt: int
    """With every policy, as where none is found to decide, and replies of full length."""
    completion: int
    most_completion: int
    money: float | None
    high_money: float | None
    """Of the most calls, each with a long prompt and the longest reply. None where the model has no price."""
    again: bool
    """Whether the stage is made again: then replies may be there that answer it and are not taken off."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """So many rows, or calls for them: expected, and at most."""

    expected: float
    most: float

    def times(self, expected: float, most: float = 1) -> "_Rows":
        return _Rows(self.expected * expected, self.most * most)

    def up_to(self, count: float) -> "_Rows":
        return _Rows(min(self.expected, count), min(self.most, count))


@dataclass(frozen=True, slots=True)
class _Share:
    """Whom a stage asks, and how often."""

    stage: str
    role: str
    calls: _Rows


@dataclass(frozen=True, slots=True)
class _Outlook:
    """A run as it stands, and what of it would not be left standing."""

    workspace: Workspace
    again: Mapping[str, bool]

    def stands(self, stage: str) -> StageManifest | None:
        """The manifest of a stage that is complete and is not made again."""
        return None if stage in self.again else read_manifest(self.workspace.folder(stage))

    def rows(self, stage: str, otherwise: _Rows) -> _Rows:
        """What a stage leaves: as many rows as it has left where it stands."""
        manifest = self.stands(stage)
        return _Rows(manifest.rows, manifest.rows) if manifest else otherwise

    def kept(self, share: _Share, model: str) -> int:
        """0 where the stage was not begun: what its earlier makings left may answer nothing of this one."""
        again = share.stage in self.again
        if again and not self.again[share.stage]:
            return 0
        try:
            began = (self.workspace.folder(share.stage) / ORIGIN_FILE).stat().st_mtime
        except FileNotFoundError:
            return 0
        return kept_requests(
            self.workspace.directory,
            stage=share.stage,
            role=share.role,
            model=model,
            since=datetime.fromtimestamp(int(began), UTC).isoformat(),
            rejections=not again,  # whoever makes a stage again forgets them
        )


def estimate(workspace: Workspace, again: Mapping[str, bool]) -> list[Load]:
    """Every stage that is not complete, role by role.

    `again` names the stages that would be discarded and made again, and tells of each whether it is
    certain to ask the same: only then what it has kept is taken off.
    """
    outlook = _Outlook(workspace, again)
    shares = [share for share in _shares(outlook) if not outlook.stands(share.stage)]
    return [_load(outlook, share) for share in shares]


def _queries(outlook: _Outlook) -> int:
    if manifest := outlook.stands(queries.STAGE):
        return manifest.rows
    counts = [source.count for source in outlook.workspace.recipe.sources]
    if any(count is None for count in counts):
        again = queries.STAGE in outlook.again
        how = "--from queries --to queries, and then --dry-run without --from queries"
        raise RecipeError(
            "a source without `count` has as many rows as it has: read it first, which asks no model, "
            f"with {how if again else '--to queries, and then --dry-run'}"
        )
    return sum(count or 0 for count in counts)


def _shares(outlook: _Outlook) -> Iterator[_Share]:
    """The journey of the queries, in calls."""
    recipe, expect = outlook.workspace.recipe, outlook.workspace.recipe.expect
    count = _queries(outlook)
    rows = _Rows(count, count)
    if recipe.describe:
        yield _Share(describe.STAGE, "describer", rows)
        rows = outlook.rows(describe.STAGE, rows)
    if recipe.roles.categoriser:
        unknown = _without_category(outlook)
        most = unknown * (1 + recipe.categorise.unreadable_retries)
        yield _Share(categorise.STAGE, "categoriser", rows.times(unknown, most))
    cases = outlook.rows(categorise.STAGE, rows)
    candidates = recipe.trajectories.candidates
    replies = cases.times(candidates, candidates)
    yield _Share(trajectories.STAGE, "teacher", replies)
    replies = outlook.rows(trajectories.STAGE, replies)
    passed = outlook.rows(gates.STAGE, replies.times(expect.passes_gates))
    yield _Share(score.STAGE, "scorer", passed.times(*_rounds(recipe, recipe.score)))
    if recipe.mine:
        full = outlook.rows(score.STAGE, passed.times(expect.full_in_all_rounds))
        yield from _pair_shares(recipe, recipe.mine, full.up_to(cases.most).up_to(recipe.mine.count))


def _pair_shares(recipe: Recipe, wanted: Mine, mined: _Rows) -> Iterator[_Share]:
    for role in recipe.roles.miners:
        yield _Share(mine.STAGE, f"miner:{role.model}", mined)
    several = len(recipe.roles.miners)
    replies = mined.times(several, several)
    yield _Share(mine.STAGE, "scorer", replies.times(*_rounds(recipe, wanted)))
    derived = wanted.benign_share + (1 - wanted.benign_share) * recipe.expect.mined_unsafe
    yield _Share(derive.STAGE, "adversary", mined.times(derived))


def _rounds(recipe: Recipe, wanted: Score | Mine) -> tuple[float, float]:
    """Rounds of marks that a reply gets, expected and at most: all of them only where the first is full."""
    expected = 1 + (wanted.rounds - 1) * recipe.expect.full_in_first_round
    return expected, wanted.rounds * (1 + wanted.unreadable_retries)


def _without_category(outlook: _Outlook) -> float:
    """Share of the queries that a model has to categorise; before they are read, nobody knows: all."""
    workspace = outlook.workspace
    if not workspace.recipe.categorise.trust_source or not outlook.stands(queries.STAGE):
        return 1
    found = [query.category is None for query in workspace.rows(queries.STAGE, Query)]
    return sum(found) / max(len(found), 1)


def _load(outlook: _Outlook, share: _Share) -> Load:
    recipe = outlook.workspace.recipe
    role = recipe.roles.named()[share.role]
    prompts, long_prompts = (
        [
            estimated_prompt_tokens(messages, role.image_tokens)
            for messages in _prompts(outlook, share.stage, role, long=long)
        ]
        for long in (False, True)
    )
    most_completion = Request(
        role.model, (), role.temperature, role.max_tokens, 0, extra_body=role.extra_body
    ).most_completion_tokens
    prompt, long_prompt = round(fmean(prompts)), max(long_prompts)
    completion = round(most_completion * recipe.expect.completion_share)
    kept = outlook.kept(share, role.model)
    calls, most_calls = (max(0, round(number) - kept) for number in (share.calls.expected, share.calls.most))
    price = recipe.prices.get(role.model)
    money = cost(price, calls * prompt, calls * completion)
    high_money = cost(price, most_calls * long_prompt, most_calls * most_completion)
    return Load(
        share.stage, share.role, role.model, kept, calls, most_calls, prompt, long_prompt, completion,
        most_completion, money, high_money, share.stage in outlook.again,
    )  # fmt: skip


def _prompts(outlook: _Outlook, stage: str, role: Role, *, long: bool) -> Iterator[list[Message]]:
    """What the stage would send for some of the run's questions, one policy after the other.

    Where they are to be long, with every policy and as if every reply had taken its whole limit.
    """
    workspace = outlook.workspace
    policies = workspace.catalog.policies
    budget = Budget(workspace.recipe.trajectories.policy_tokens)
    length = 1 if long else workspace.recipe.expect.completion_share
    image = NO_IMAGE if role.sees else None
    described = None if role.sees else _words(_longest_description(workspace))
    for number, question in enumerate(_questions(outlook)):
        policy = policies if long else [policies[number % len(policies)]]
        if stage == describe.STAGE:
            yield describer_messages(NO_IMAGE)
        elif stage == categorise.STAGE:
            images = [image] if image else []
            yield categoriser_messages(question, workspace.catalog, images=images, description=described)
        elif stage == trajectories.STAGE:
            if image:
                yield student_messages(question, [image], policy, budget=budget)
            else:
                yield teacher_messages(question, described or "", policy, budget=budget)
        elif stage == derive.STAGE:
            reply = _words(workspace.recipe.roles.miners[0].max_tokens // (1 if long else 4))
            yield adversary_messages(
                question, reply, policy, fault=ATTENUATED, verdict="comply",
                image=image, description=described, budget=budget,
            )  # fmt: skip
        elif role is workspace.recipe.roles.scorer:
            reply = _words(round(_reply_tokens(workspace, stage) * length))
            yield scorer_messages(
                question, reply, policy, key="0" * 12, image=image, description=described, budget=budget
            )
        else:
            yield student_messages(question, [NO_IMAGE])


def _questions(outlook: _Outlook) -> Iterable[str]:
    if outlook.stands(queries.STAGE):
        rows = outlook.workspace.rows(queries.STAGE, Query)
        return [query.instruction for query in islice(rows, SAMPLE)] or [A_QUESTION]
    return [A_QUESTION] * SAMPLE


def _longest_description(workspace: Workspace) -> int:
    describer = workspace.recipe.roles.describer
    return describer.max_tokens if describer else 0


def _reply_tokens(workspace: Workspace, stage: str) -> int:
    roles = workspace.recipe.roles
    return roles.teacher.max_tokens if stage == score.STAGE else max(role.max_tokens for role in roles.miners)


def _words(tokens: int) -> str:
    return "lorem " * max(1, round(tokens * WORDS_PER_TOKEN))
