"""How often the lab's models err, and which error a request draws: all of it seeded by what was asked.

Real describers, categorisers, teachers and scorers are wrong now and then, and real servers fail. The
rates stand in one value. Whoever knows what was asked can draw the same errors again, so an audit needs
no record of them.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Self

from align.mini import bad_form, bad_substance
from align.mini.defect import WEIGHTS, Defect, Kind
from align.mini.world import Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Shares of requests, from 0 to 1; lab-* models only."""

    wrong_subject: float = 0.02
    """Descriptions that take the main thing for another."""
    declined: float = 0.002
    """Descriptions and derived reasonings that are an excuse instead."""
    wrong_category: float = 0.02
    """Categories that are a neighbour of the right one."""
    prose_category: float = 0.02
    """Categories with prose around the JSON."""
    half_category: float = 0.01
    """Categories whose JSON ends in the middle."""
    defect_share: float = 0.35
    """Trajectories with one planted defect."""
    refused: float = 0.002
    """Trajectories for which only a refusal field comes."""
    missed: float = 0.13
    """Rounds of scoring that give a defective reply full marks."""
    overlooked: float = 0.02
    """Defective replies that get full marks in every round: rounds of one judge are not independent."""
    grudged: float = 0.01
    """Rounds that take a point off a reply without fault."""
    unreadable_scores: float = 0.01
    """Rounds in prose or with half a JSON."""
    quoted_scores: float = 0.1
    """Rounds that quote the scores they found in the judged text before giving their own."""
    too_many_requests: float = 0.01
    server_error: float = 0.005
    cut_connection: float = 0.003
    """Answers whose connection breaks in mid-body."""
    half_body: float = 0.003
    """Answers with status 200 whose body ends in the middle."""

    @classmethod
    def none(cls) -> Self:
        """No errors at all."""
        return cls(**dict.fromkeys((field.name for field in fields(cls)), 0.0))


DEFAULT = Noise()


def dice(*asked: object) -> random.Random:
    """Chance that is the same whenever the same is asked."""
    return random.Random("\n".join(map(str, asked)))


def planted(identity: str, seed: int, belief: Truth, noise: Noise) -> Defect | None:
    """The defect of a teacher's reply; None where it is to be good.

    `identity` says what was asked about what (`align.mini.given`), `seed` is the request's, `belief` what
    the teacher takes for true.
    """
    rng = dice("planted", identity, seed)
    if rng.random() >= noise.defect_share:
        return None
    fitting = {kind: [one for one in known if one.fits(belief)] for kind, known in _BY_KIND.items()}
    kinds = [kind for kind, known in fitting.items() if known]
    kind = rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
    return rng.choice(fitting[kind])


def _by_kind(defects: Iterable[Defect]) -> Mapping[Kind, tuple[Defect, ...]]:
    known = tuple(defects)
    return MappingProxyType({kind: tuple(one for one in known if one.kind is kind) for kind in Kind})


DEFECTS = (*bad_substance.DEFECTS, *bad_form.DEFECTS)
_BY_KIND = _by_kind(DEFECTS)
