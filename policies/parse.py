"""The strict reader of policy documents: one markdown file to one `Policy`.

A document is a header between `---` lines, then the sections G, D, B and R of the paper, each clause
under a `###` heading `id title`, then its changelog. A clause begins with the fields of its kind, and a
boundary case ends with its reason. Whatever is unknown, missing, doubled or out of order is an error
that names the file and what to do.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from policies.changelog import VERSION, read_changelog
from policies.document import (
    BoundaryClause,
    CatalogError,
    Clause,
    Policy,
    ProhibitedClause,
    Release,
    RetiredClause,
)
from policies.reply import CLAUSE_PATTERN, Verdict
from policies.taxonomies import HAZARDS, LLAMA_GUARD_OF, VENDORS

SECTIONS = {"G": "Core principle", "D": "Prohibited behaviour", "B": "Boundary cases", "R": "Rules"}
CHANGELOG = "Changelog"
RULES = 6
TITLE_WORDS = range(3, 9)

_FIELDS_OF = {"G": (), "D": ("Hazards",), "B": ("Verdict", "Borders"), "R": ()}
_HEADER = re.compile(r"---\n(.*?)\n---\n(.*)", re.DOTALL)
_CLAUSE_HEADING = re.compile(rf"({CLAUSE_PATTERN}) (\S.*)")
_FIELD = re.compile(r"(Hazards|Verdict|Borders|Retired): *(\S.*)")
_MISPLACED = re.compile(r"^(?:##|# |(?:Hazards|Verdict|Borders|Retired|Reason):).*", re.MULTILINE)
_FORMS = {
    "id": r"P[0-9]{2}",
    "slug": r"(?!none$)[a-z]+(_[a-z]+)*",  # `none` is how a categoriser says that no policy is concerned
    "title": r"\S.*",
    "version": VERSION,
}
_OPTIONAL_FORMS = {**{vendor.name: r"[^,]+(, *[^,]+)*" for vendor in VENDORS}, "retired": VERSION}

AnyClause = Clause | RetiredClause
KindT = TypeVar("KindT", bound=AnyClause)


def parse_document(name: str, text: str) -> Policy:
    """Read the document in the file of that name; `CatalogError` if anything is off."""
    try:
        policy = _parse("\n".join(text.removeprefix("\ufeff").splitlines()) + "\n")
        _require(name == policy.file_name, f"by its id and slug the file must be named {policy.file_name}")
    except CatalogError as error:
        raise CatalogError(f"{name}: {error}") from None
    return policy


def _parse(text: str) -> Policy:
    found = _HEADER.fullmatch(text)
    if not found:
        raise CatalogError("begin the file with a header between two lines of ---")
    header = _header(found[1])
    sections = _sections(found[2])
    clauses = [clause for letter in SECTIONS for clause in _clauses(header["id"], letter, sections[letter])]
    boundary = _of_kind(clauses, BoundaryClause)
    _require(
        bool(boundary) and boundary[0].verdict is Verdict.COMPLY,
        "let the first boundary case be the benign look-alike, with Verdict: comply",
    )
    prohibited = _of_kind(clauses, ProhibitedClause)
    _require(bool(prohibited), "keep at least one prohibited behaviour in force")
    _check_borders(boundary, prohibited)
    retired = _of_kind(clauses, RetiredClause)
    changelog = read_changelog(sections[CHANGELOG], header["version"])
    _check_retirements(retired, header.get("retired"), changelog)
    principle, *rules = (clause for clause in clauses if type(clause) is Clause)
    return Policy(
        id=header["id"],
        slug=header["slug"],
        title=header["title"],
        version=header["version"],
        references=tuple((vendor.name, _codes(header, vendor.name, vendor.entries)) for vendor in VENDORS),
        principle=principle,
        prohibited=prohibited,
        boundary=boundary,
        rules=tuple(rules),
        retired=retired,
        changelog=changelog,
        retired_in=header.get("retired"),
    )


def _of_kind(clauses: Iterable[AnyClause], kind: type[KindT]) -> tuple[KindT, ...]:
    return tuple(clause for clause in clauses if isinstance(clause, kind))


def _header(text: str) -> dict[str, str]:
    forms = {**_FORMS, **_OPTIONAL_FORMS}
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = (part.strip() for part in line.partition(":"))
        _require(bool(colon and value), f"write the header line {line!r} as `field: value`")
        _require(name in forms, f"remove the header field {name!r}; the fields are {', '.join(forms)}")
        _require(name not in fields, f"keep only one header field {name!r}")
        _require(
            bool(re.fullmatch(forms[name], value)),
            f"header field {name!r} is {value!r} but must match {forms[name]}",
        )
        fields[name] = value
    missing = [name for name in _FORMS if name not in fields]
    _require(not missing, f"add the header field(s) {', '.join(missing)}")
    return fields


def _codes(fields: Mapping[str, str], field: str, known: Iterable[str]) -> tuple[str, ...]:
    """The codes of a comma-separated field; `none`, or no such field, is no code."""
    codes = [code.strip() for code in fields.get(field, "none").split(",")]
    if codes == ["none"]:
        return ()
    unknown = [code for code in codes if code not in known]
    _require(not unknown, f"{field}: {', '.join(unknown)} is unknown; write `none`, or of {', '.join(known)}")
    _require(len(codes) == len(set(codes)), f"{field}: name every code once")
    return tuple(codes)


def _sections(body: str) -> dict[str, str]:
    preamble, found = _split(body, "## ")
    _require(not preamble, f"move the text {preamble[:40]!r} into a clause, or remove it")
    expected = [*(f"{letter}: {title}" for letter, title in SECTIONS.items()), CHANGELOG]
    headings = [heading for heading, _ in found]
    _require(headings == expected, f"the sections are {headings} but must be {expected}, in this order")
    return dict(zip((*SECTIONS, CHANGELOG), (content for _, content in found), strict=True))


def _split(text: str, marker: str) -> tuple[str, list[tuple[str, str]]]:
    """The text before the first heading of this level, then each heading with its text."""
    first, *rest = re.split(rf"^{marker}", text, flags=re.MULTILINE)
    headings = [section.partition("\n") for section in rest]
    return first.strip(), [(heading.strip(), content) for heading, _, content in headings]


def _clauses(policy: str, letter: str, content: str) -> Iterator[AnyClause]:
    stray, found = _split(content, "### ")
    _require(not stray, f"section {letter}: move the text {stray[:40]!r} into a clause, or remove it")
    clauses = [_clause(letter, heading, text) for heading, text in found]
    ids = [clause.id for clause in clauses]
    expected = [f"{policy}.{name}" for name in _names(letter, len(ids))]
    _require(ids == expected, f"section {letter} has {ids} but must have {expected}, in this order")
    yield from clauses


def _names(letter: str, found: int) -> list[str]:
    """Without gaps, tombstones included: what is no longer in force keeps its place."""
    if letter == "G":
        return ["G"]
    count = RULES if letter == "R" else max(found, 1)
    return [f"{letter}{number}" for number in range(1, count + 1)]


def _clause(letter: str, heading: str, content: str) -> AnyClause:
    found = _CLAUSE_HEADING.fullmatch(heading)
    if not found:
        raise CatalogError(
            f"write the heading {heading!r} as `### id title`, for example `### P01.{letter}1 A title`"
        )
    id_, title = found[1], " ".join(found[2].split())
    _require(len(title.split()) in TITLE_WORDS, f"{id_}: give the title {title!r} three to eight words")
    try:
        return _filled(letter, id_, title, content)
    except CatalogError as error:
        raise CatalogError(f"{id_}: {error}") from None


def _filled(letter: str, id_: str, title: str, content: str) -> AnyClause:
    fields, text = _fields(content)
    if "Retired" in fields and letter in "DB":
        _expect(fields, ("Retired",))
        _require(bool(re.fullmatch(VERSION, fields["Retired"])), "write `Retired: ` and a version, as 2.0.0")
        return RetiredClause(id_, title, fields["Retired"], _joined(text))
    _expect(fields, _FIELDS_OF[letter])
    if letter == "D":
        return ProhibitedClause(id_, title, _joined(text), _hazards(fields))
    if letter == "B":
        text, _, reason = f"\n\n{text}".partition("\n\nReason: ")
        _require(bool(reason.strip()), "end with a paragraph `Reason: …`")
        borders = tuple(f"{id_.partition('.')[0]}.{name.strip()}" for name in fields["Borders"].split(","))
        return BoundaryClause(id_, title, _joined(text), _verdict(fields), borders, _joined(reason))
    return Clause(id_, title, _joined(text))


def _fields(content: str) -> tuple[dict[str, str], str]:
    """The lines `Field: value` that a clause begins with, then its text."""
    fields: dict[str, str] = {}
    lines = content.strip().split("\n")
    while lines and (found := _FIELD.fullmatch(lines[0].strip())):
        _require(found[1] not in fields, f"keep only one line `{found[1]}: `")
        fields[found[1]] = found[2].strip()
        del lines[0]
    return fields, "\n".join(line.strip() for line in lines).strip()


def _expect(fields: Mapping[str, str], names: Sequence[str]) -> None:
    stray = [name for name in fields if name not in names]
    _require(not stray, f"remove the line(s) {', '.join(f'`{name}: `' for name in stray)}")
    missing = [name for name in names if name not in fields]
    _require(not missing, f"begin with the line(s) {', '.join(f'`{name}: …`' for name in missing)}")


def _hazards(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Two taxonomies that name the same hazards: where they disagree, one of them is wrong."""
    ailuminate, llama_guard = (set(taxonomy.entries) for taxonomy in HAZARDS)
    codes = _codes(fields, "Hazards", [code for taxonomy in HAZARDS for code in taxonomy.entries])
    wanted = {LLAMA_GUARD_OF[code] for code in codes if code in ailuminate}
    given = {code for code in codes if code in llama_guard and code in LLAMA_GUARD_OF.values()}
    _require(
        wanted == given,
        f"Hazards: AILuminate's codes mean {_listed(wanted)} in Llama Guard, the line has {_listed(given)}",
    )
    return codes


def _listed(codes: Iterable[str]) -> str:
    return ", ".join(sorted(codes)) or "nothing"


def _verdict(fields: Mapping[str, str]) -> Verdict:
    word = fields["Verdict"]
    _require(word in list(Verdict), f"write `Verdict: ` and one of {', '.join(Verdict)}")
    return Verdict(word)


def _joined(text: str) -> str:
    """The text on one line; a field or heading inside it would be lost on a reader."""
    if misplaced := _MISPLACED.search(text):
        raise CatalogError(
            f"move or remove the line {misplaced[0][:40]!r}: fields come first, one paragraph `Reason: …` "
            "ends a boundary case, and a heading is written `### id title`"
        )
    joined = " ".join(text.split())
    _require(bool(joined), "write the clause's text under its heading")
    return joined


def _check_borders(boundary: Iterable[BoundaryClause], prohibited: Iterable[ProhibitedClause]) -> None:
    known = [clause.id for clause in prohibited]
    for clause in boundary:
        _require(
            len(clause.borders) == len(set(clause.borders)), f"{clause.id}: Borders: name every clause once"
        )
        unknown = [one for one in clause.borders if one not in known]
        _require(
            not unknown,
            f"{clause.id}: Borders names {', '.join(unknown)}, not in force; of {', '.join(known)}",
        )


def _check_retirements(
    retired: Iterable[RetiredClause], whole: str | None, changelog: Iterable[Release]
) -> None:
    versions = [release.version for release in changelog]
    named = {clause.id: clause.retired_in for clause in retired} | ({"header": whole} if whole else {})
    for name, version in named.items():
        _require(
            version in versions,
            f"{name}: retired in {version}, which the changelog does not name; of {', '.join(versions)}",
        )


def _require(holds: bool, remedy: str) -> None:
    if not holds:
        raise CatalogError(remedy)
