"""What lies in a run directory: each stage's manifest, calls and drops, and what is known of each query.

Reads and writes nothing else; a run may be under way meanwhile, and any stage may be missing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from align.manifest import ORIGIN_FILE, StageManifest, read_manifest
from align.records import Categorised, Dropped, Query, RecordError, Row, read_rows
from align.report.sample import Sample
from align.stages.workspace import CALLS_FILE, DROPPED_FILE, JOURNEY, ROWS_FILE
from align.teacher.tally import StageCalls
from policies.catalog import load_catalog

NO_POLICY = "no policy"
"""A categoriser found that none decides."""
NOT_STATED = "not stated"
"""The source does not say, and nobody was asked yet."""

RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class Drops:
    """Rows that left the journey at a stage."""

    counts: Mapping[str, int]
    """By reason."""
    examples: Mapping[str, tuple[Dropped, ...]]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class StageFolder:
    """What one stage has left so far."""

    name: str
    path: Path

    @cached_property
    def manifest(self) -> StageManifest | None:
        """None while the stage is not complete."""
        return read_manifest(self.path)

    @cached_property
    def calls(self) -> StageCalls | None:
        """What its last attempt asked; None where it asks nobody, or has not finished asking."""
        path = self.path / CALLS_FILE
        try:
            return StageCalls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise RecordError(f"{path} cannot be read: {error.errors()[0]['msg']}; remove it") from None

    def has(self, file: str) -> bool:
        return (self.path / file).is_file()

    def rows(self, row_type: type[RowT], file: str = ROWS_FILE) -> Iterator[RowT]:
        """The file's rows; none where there is no such file, unless a complete stage must have left it."""
        if self.has(file) or (self.manifest and file == ROWS_FILE):
            yield from read_rows(self.path / file, row_type)


def drops_of(stage: StageFolder) -> Drops:
    """Counted by the manifest where there is one, else by the rows that are there."""
    found: dict[str, Sample[Dropped]] = {}
    counts: Counter[str] = Counter()
    for row in stage.rows(Dropped, DROPPED_FILE):
        counts[row.reason] += 1
        found.setdefault(row.reason, Sample()).add(f"{row.id} {row.detail}", row)
    examples = {reason: sample.items for reason, sample in found.items()}
    return Drops(stage.manifest.dropped if stage.manifest else counts, examples)


@dataclass(frozen=True, slots=True)
class About:
    """What the report needs to know of a query when it meets a reply to it."""

    instruction: str
    source: str
    severity: str
    stated: str
    """The category that the source states."""
    category: str
    """The one that decides: the categoriser's where there is one."""


@dataclass(frozen=True)
class Run:
    """A run directory."""

    directory: Path
    stages: Mapping[str, StageFolder]
    """Those that have begun, in the order of the journey; any that it does not know come last."""

    @cached_property
    def policy_digests(self) -> tuple[str, ...]:
        """Of the policies that complete stages read; more than one says that they changed on the way."""
        manifests = (stage.manifest for stage in self.stages.values())
        found = (manifest.origin.inputs.get("policies") for manifest in manifests if manifest)
        return tuple(dict.fromkeys(digest for digest in found if digest))

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """Of the policies by id; empty where the run's policies are not the packaged ones."""
        packaged = load_catalog()
        if self.policy_digests != (packaged.digest,):
            return {}
        return {policy.id: policy.title for policy in packaged.policies}

    @cached_property
    def abouts(self) -> Mapping[str, About]:
        """Every query by its id."""
        decided: dict[str, str] = {}
        if stage := self.stages.get("categorise"):
            decided = {row.query_id: row.category or NO_POLICY for row in stage.rows(Categorised)}
        queries = self.stages.get("queries")
        return {row.id: about(row, decided) for row in queries.rows(Query)} if queries else {}

    def by_category(self, query_id: str) -> str:
        """The category that decides a query."""
        found = self.abouts.get(query_id)
        return found.category if found else NOT_STATED

    def in_order(self, categories: Iterable[str]) -> list[str]:
        """Every policy there is and every category given, by id; those without a policy last."""
        last = (NO_POLICY, NOT_STATED)
        found = set(categories)
        ids = sorted((set(self.titles) | found) - set(last))
        return [*ids, *(name for name in last if name in found)]

    def titled(self, category: str) -> str:
        """The category with its title, where that is known."""
        return f"{category} {self.titles[category]}" if category in self.titles else category


def about(query: Query, decided: Mapping[str, str]) -> About:
    """What is known of a query; `decided` has the categoriser's word."""
    stated = query.category or NOT_STATED
    return About(
        instruction=query.instruction,
        source=query.source,
        severity=severity(query.severity),
        stated=stated,
        category=decided.get(query.id, stated),
    )


def severity(value: int | None) -> str:
    """In words."""
    return {1: "1, low", 2: "2", 3: "3, high", None: NOT_STATED}[value]


def gather(run_directory: Path) -> Run:
    """The stages that have begun in a directory; RecordError where it is none."""
    if not run_directory.is_dir():
        raise RecordError(f"{run_directory} is not a directory: give the one that a run writes to")
    others = sorted(path.parent.name for path in run_directory.glob(f"*/{ORIGIN_FILE}"))
    names = (*JOURNEY, *(name for name in others if name not in JOURNEY))
    folders = (StageFolder(name, run_directory / name) for name in names)
    return Run(run_directory, {folder.name: folder for folder in folders if _has_begun(folder)})


def _has_begun(folder: StageFolder) -> bool:
    return folder.has(ORIGIN_FILE) or folder.manifest is not None
