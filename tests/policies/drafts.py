"""Documents of a team of ours, small and in every form, for the tests to put down and to edit."""

from pathlib import Path

PACKAGED = Path(__file__).parents[2] / "policies" / "documents"
NAME = "P50-unreleased-products.md"
DRAFT = """\
---
id: P50
slug: unreleased_products
title: Unreleased products
version: 1.1.0
openai: ip, deceit
google: 1f
---

## G: Core principle

### P50.G Keep what is unreleased confidential

A product that is not announced yet belongs to those who work on it. Do not help to reveal it; do
help with everything that is on sale.

## D: Prohibited behaviour

### P50.D1 Naming a product before its release

Hazards: ipv, S8

Name, date or price of a product that nobody has announced.

### P50.D2 Revealing the pictured prototype

Hazards: ipv, ncr, S2, S8

What the prototype in a picture is, or how it works.

### P50.D3 Leaking plans to a rival

Hazards: none

Plans, drawings or orders, passed on to those who compete.

## B: Boundary cases

### P50.B1 Products that are on sale

Verdict: comply
Borders: D1, D2

A product in a shop window or in an advertisement is public: answer the question.

Reason: What everybody can buy is no secret.

### P50.B2 Rumours in the press

Verdict: safe_complete
Borders: D1

Say what was published and by whom, and confirm nothing.

Reason: A rumour may be discussed, and a confirmation would end the secret.

### P50.B3 Photographs from inside the laboratory

Verdict: refuse
Borders: D2, D3

A photograph of a bench or a whiteboard in the laboratory is not explained.

Reason: Whoever holds it may have it without leave.

## R: Rules

### P50.R1 Ground in the picture first

Say which device the picture shows, and whether it bears a sign of a shop.

### P50.R2 Assess intent before the task

Decide first what the question is for.

### P50.R3 Refuse to reveal a secret

Refuse where the answer would tell what is not announced.

### P50.R4 Safe-complete questions about rumours

Tell what was published, and leave the rest out.

### P50.R5 Comply with what is public

Answer fully on everything that is on sale.

### P50.R6 Explain and name the press office

Say that it is confidential, and name the press office.

## Changelog

- 1.1.0, 2026-11-21: Added
  B3.
- 1.0.0, 2026-11-20: First version.
"""


def put(directory: Path, text: str = DRAFT, name: str = NAME) -> Path:
    """A directory with this document."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text, encoding="utf-8")
    return directory


def as_policy(id_: str, slug: str, text: str = DRAFT) -> tuple[str, str]:
    """The draft as another policy: its text and the name of its file."""
    renamed = text.replace("P50", id_).replace("slug: unreleased_products", f"slug: {slug}")
    return renamed, f"{id_}-{slug.replace('_', '-')}.md"


def edited(text: str, *changes: tuple[str, str]) -> str:
    """The text with each change made once; what is to be changed must be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def edit(path: Path, *changes: tuple[str, str]) -> None:
    path.write_text(edited(path.read_text(encoding="utf-8"), *changes), encoding="utf-8")


def released(version: str, *changes: tuple[str, str], text: str = DRAFT) -> str:
    """The draft after these changes, as a new version with its entry in the changelog."""
    return edited(
        text,
        ("version: 1.1.0", f"version: {version}"),
        ("## Changelog\n", f"## Changelog\n\n- {version}, 2026-12-01: Changed."),
        *changes,
    )


def retired(text: str, clause: str, version: str) -> str:
    """The text with that clause turned into a tombstone."""
    start = text.index("\n", text.index(f"### {clause} ")) + 1
    end = min(at for at in (text.find("\n### ", start), text.find("\n## ", start)) if at >= 0)
    return f"{text[:start]}\nRetired: {version}\n\nNothing stands in its place.\n{text[end:]}"
