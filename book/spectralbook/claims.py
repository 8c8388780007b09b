"""Claims of the sources, and the verdicts that a chapter's own numbers give on them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import Literal, get_args

__all__ = ["Claim", "ClaimError", "Kind", "Verdict", "load", "verdict"]

Kind = Literal["holds", "holds if", "corrected", "refuted", "not testable here"]
KINDS: tuple[str, ...] = get_args(Kind)


class ClaimError(ValueError):
    """The ledger or a verdict is not what it should be; the message says how to mend it."""


@dataclass(frozen=True)
class Claim:
    """One statement of a source, in our own words."""

    id: str
    statement: str
    source: str
    chapter: str


@dataclass(frozen=True)
class Verdict:
    """What a chapter found about one claim; shown as a box in the chapter and as a row of the ledger."""

    claim: Claim
    kind: Kind
    finding: str

    def __repr__(self) -> str:
        return f"{self.claim.id} {self.kind}: {self.finding}"

    def _repr_html_(self) -> str:
        claim, finding = self.claim, escape(self.finding)
        name = escape(claim.id)
        slug = self.kind.replace(" ", "-")
        return (
            f'<div class="verdict" id="claim-{name}" role="group" aria-label="Claim {name}: {self.kind}" '
            f'data-claim="{name}" data-verdict="{self.kind}" data-finding="{finding}">'
            f'<p><strong>Claim {name}</strong> <span class="verdict-badge verdict-{slug}">{self.kind}</span> '
            f"<em>{escape(claim.statement)}</em> <small>({escape(claim.source)})</small></p>"
            f"<p>{finding}</p></div>"
        )


@cache
def load(path: Path | None = None) -> Mapping[str, Claim]:
    """All claims by id, from `path` or the ledger that comes with the package."""
    source = files("spectralbook").joinpath("claims.toml") if path is None else path
    fields = list(Claim.__annotations__)
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(tomllib.loads(source.read_text(encoding="utf-8")).get("claim", []), 1):
        complete = set(entry) == set(fields) and all(isinstance(v, str) and v for v in entry.values())
        if not complete:
            raise ClaimError(
                f"{source}: claim {number} needs exactly the non-empty texts {', '.join(fields)}; "
                f"it has {', '.join(entry) or 'none'}"
            )
        if entry["id"] in claims:
            raise ClaimError(f"{source}: claim {entry['id']!r} is there twice; rename one")
        claims[entry["id"]] = Claim(**entry)
    return MappingProxyType(claims)


def verdict(claim_id: str, kind: Kind, finding: str, *, when: bool, **numbers: object) -> Verdict:
    """The verdict on a claim, for as long as the numbers support it.

    `finding` is a format string filled with `numbers`; `when` is the comparison, computed by
    the cell, that the verdict rests on:

    >>> verdict("A5", "corrected", "a sine at 0.5 leaves {left:.1f}", left=0.0, when=True)
    A5 corrected: a sine at 0.5 leaves 0.0
    """
    claims = load()
    if claim_id not in claims:
        raise ClaimError(f"no claim {claim_id!r} in claims.toml; it has {', '.join(claims)}")
    if kind not in KINDS:
        raise ClaimError(f"claim {claim_id}: no verdict {kind!r}; use one of {', '.join(KINDS)}")
    # A number or a tensor would be taken for true as soon as it is not zero.
    if type(when).__name__ not in {"bool", "bool_"}:
        raise ClaimError(f"claim {claim_id}: `when` is {when!r}; give the comparison itself, as bool(...)")
    fields = {name for _, name, _, _ in Formatter().parse(finding) if name is not None}
    if fields != set(numbers):
        missing, unused = sorted(fields - set(numbers)), sorted(set(numbers) - fields)
        raise ClaimError(f"claim {claim_id}: the finding lacks numbers {missing} and does not use {unused}")
    text = finding.format(**numbers)
    if not when:
        raise ClaimError(f"claim {claim_id}: the numbers no longer support the verdict {kind!r} ({text})")
    return Verdict(claims[claim_id], kind, text)
