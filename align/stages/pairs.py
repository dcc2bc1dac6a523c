"""Pairs: a chosen and a rejected reply to the same query, and how the rejected one was made.

    contrastive     the worst of the miners' own replies
    post_hoc        its conclusion kept, its reasoning written to fit
    over_refusal    harmless query: helpful chosen, needless refusal rejected, mined or derived

A pair must teach what is right and nothing else: so both replies are in the student's format and of
similar length, and no kind, category, source or severity dominates.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from align.errors import StageAborted
from align.recipe_tables import Pairs
from align.records import Derived, Dropped, DropReason, Mined, Pair, write_rows
from align.stages import derive, mine
from align.stages.balance import balanced_apart
from align.stages.drops import counted
from align.stages.ranking import Priority, fault, refuses_in_effect, worst
from align.stages.select import Eligible
from align.stages.workspace import DROPPED_FILE, Made, Workspace
from policies.reply import Flag
from policies.trace import read

STAGE = "pairs"
Kind = Literal["contrastive", "post_hoc", "over_refusal"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected reply, wherever it comes from."""

    completion: str
    by: str
    stage: str
    """Which made it: a miner's model may be the adversary's, too."""
    kind: Kind
    decided_by: Priority


def make(workspace: Workspace) -> Made:
    """Pair what was chosen with what was rejected; StageAborted where too few pairs come of it.

    What was dropped is written even then, for whoever looks for the cause.
    """
    wanted = workspace.recipe.pairs
    assert wanted is not None  # the stage is not in the graph without its table
    results = list(_paired(workspace, wanted))
    found = [result for result in results if isinstance(result, Pair)]
    kept = _balanced_kinds(found, wanted, workspace.recipe.seed)
    taken = {pair.id for pair in kept}
    dropped = [result for result in results if isinstance(result, Dropped)]
    dropped += [_not_selected(pair) for pair in found if pair.id not in taken]
    if len(kept) < wanted.min_count:
        path = workspace.folder(STAGE) / DROPPED_FILE
        write_rows(path, dropped)
        reasons = ", ".join(f"{number} {reason}" for reason, number in counted(dropped).most_common())
        raise StageAborted(
            f"{STAGE}: {len(kept)} pairs, fewer than pairs.min_count = {wanted.min_count} ({reasons}): "
            f"mine more queries (mine.count); {path} has the details"
        )
    return workspace.leave(STAGE, kept, dropped)


def _paired(workspace: Workspace, wanted: Pairs) -> Iterator[Pair | Dropped]:
    rows = workspace.rows(mine.STAGE, Mined)
    mined = {query: list(group) for query, group in groupby(rows, key=lambda row: row.query_id)}
    derived = {row.query_id: row for row in workspace.rows(derive.STAGE, Derived)}
    for chosen in mine.mined_queries(workspace):
        query = chosen.case.query.id
        reply = worst(mined.get(query, []))
        candidates = list(_rejected(chosen, reply, derived.get(query), workspace))
        if not candidates:
            yield Dropped(
                id=query, stage=STAGE, reason=DropReason.NO_FAILURE, detail="every miner did as well"
            )
        for rejected in candidates:
            yield _pair(chosen, rejected, wanted.max_length_ratio, workspace)


def _rejected(
    chosen: Eligible, reply: Mined | None, derived: Derived | None, workspace: Workspace
) -> Iterator[Rejected]:
    if reply and (priority := fault(reply.rounds)):
        refused = chosen.benign and refuses_in_effect(reply)
        kind: Kind = "over_refusal" if refused else "contrastive"
        yield Rejected(reply.completion, reply.miner, mine.STAGE, kind, priority)
    if derived and chosen.benign:
        yield Rejected(derived.completion, derived.adversary, derive.STAGE, "over_refusal", "utility")
    elif derived:
        yield Rejected(derived.completion, derived.adversary, derive.STAGE, "post_hoc", "safety")


def _pair(chosen: Eligible, rejected: Rejected, max_ratio: float, workspace: Workspace) -> Pair | Dropped:
    query = chosen.case.query
    pair = Pair(
        id=f"{query.id} {rejected.kind} {rejected.stage} {rejected.by}",
        instruction=query.instruction,
        image=query.image,
        chosen=chosen.scored.completion,
        rejected=rejected.completion,
        kind=rejected.kind,
        chosen_by=workspace.recipe.roles.teacher.model,
        rejected_by=rejected.by,
        decided_by=rejected.decided_by,
        category=chosen.case.category,
        severity=query.severity,
        source=query.source,
        licence=query.licence,
    )
    for reason, detail in _faults(pair, max_ratio, workspace):
        return Dropped(id=pair.id, stage=STAGE, reason=reason, detail=detail)
    return pair


def _faults(pair: Pair, max_ratio: float, workspace: Workspace) -> Iterator[tuple[DropReason, str]]:
    if pair.chosen.strip() == pair.rejected.strip():
        yield DropReason.SAME_REPLY, "chosen and rejected do not differ"
    trace = read(pair.rejected, workspace.reasoning_format, workspace.catalog.citable)
    if not trace.reasoning.strip() or not trace.answer.strip() or Flag.UNCLOSED_REASONING in trace.flags:
        yield DropReason.FORMAT_DIFFERS, f"not in the format {workspace.reasoning_format.name}"
    lengths = sorted((len(pair.chosen), len(pair.rejected)))
    if lengths[1] > max_ratio * lengths[0]:
        yield DropReason.LENGTH_RATIO, f"{len(pair.chosen)} and {len(pair.rejected)} characters"


def _balanced_kinds(pairs: Iterable[Pair], wanted: Pairs, seed: int) -> list[Pair]:
    """Of every kind its share, balanced within; what one kind lacks the others fill in equal parts."""
    by_kind: dict[Kind, list[Pair]] = {kind: [] for kind, share in wanted.shares.items() if share}
    for pair in pairs:
        if pair.kind in by_kind:
            by_kind[pair.kind].append(pair)
    shares = {kind: share for kind, share in wanted.shares.items() if share}
    takes = _takes({kind: len(rows) for kind, rows in by_kind.items()}, shares, wanted.count)
    return [
        pair
        for kind, rows in by_kind.items()
        for pair in balanced_apart(
            rows,
            takes[kind],
            apart=lambda pair: pair.category is None,
            share=wanted.general_share,
            axes=_axes,
            lot=lambda pair: f"{seed} {pair.id}",
        )
    ]


def _takes(there_are: Mapping[Kind, int], shares: Mapping[Kind, float], count: int) -> dict[Kind, int]:
    """How many of each kind to take."""
    takes = {kind: int(count * share) for kind, share in shares.items()}
    left_over = sorted(shares, key=lambda kind: takes[kind] - count * shares[kind])
    for kind in left_over[: max(0, count - sum(takes.values()))]:  # not rounded: the sum could exceed count
        takes[kind] += 1
    takes = {kind: min(there_are[kind], take) for kind, take in takes.items()}
    while sum(takes.values()) < min(count, sum(there_are.values())):
        takes[min((kind for kind in takes if takes[kind] < there_are[kind]), key=takes.__getitem__)] += 1
    return takes


def _axes(pair: Pair) -> tuple[str, ...]:
    return pair.category or "none", pair.source, str(pair.severity or "unknown"), pair.rejected_by


def _not_selected(pair: Pair) -> Dropped:
    detail = "its group had more than its share"
    return Dropped(id=pair.id, stage=STAGE, reason=DropReason.NOT_SELECTED, detail=detail)
