"""Claims of the sources, and the verdicts that a chapter's own numbers give on them.

A verdict is computed, its label too: see `judge`, and ``spectralbook.evidence`` for what it is computed from.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import Literal, get_args

from spectralbook.evidence import Estimate, Evidence, Outcome, above, below, exact, fact, near, together

__all__ = [
    "Claim",
    "ClaimError",
    "Estimate",
    "Kind",
    "Verdict",
    "above",
    "below",
    "exact",
    "fact",
    "judge",
    "load",
    "near",
    "untestable",
    "verdict",
]

Kind = Literal["holds", "holds if", "corrected", "refuted", "not shown here", "not testable here"]
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
    computed: tuple[str, ...] = ()

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
            f"<p>{finding}</p>{self._how_computed()}</div>"
        )

    def _how_computed(self) -> str:
        if not self.computed:
            return ""
        lines = "".join(f"<li>{escape(line)}</li>" for line in self.computed)
        return f"<details><summary>How computed</summary><ul>{lines}</ul></details>"


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


def judge(
    claim_id: str,
    stated: Evidence | Sequence[Evidence],
    *,
    condition: Evidence | Sequence[Evidence] = (),
    correction: Evidence | Sequence[Evidence] = (),
    findings: Mapping[Kind, str],
    **numbers: object,
) -> Verdict:
    """The verdict that evidence gives on a claim.

    =========  ==================================  ====================================================
    as stated  with the condition or correction    verdict
    =========  ==================================  ====================================================
    holds                                          holds
    refuted    condition holds                     holds if
    refuted    correction holds                    corrected
    refuted    none given, or refuted as well      refuted
    open                                           not shown here
    refuted    open                                not shown here
    =========  ==================================  ====================================================

    Args:
        claim_id: of the ledger.
        stated: evidence on the claim as the source states it; all parts must hold.
        condition: evidence on the claim under a condition that the source leaves out.
        correction: evidence on what is right instead. A claim has one of both at most.
        findings: what was found, a format string over ``numbers`` for each verdict that was thought of.
        numbers: for the finding.

    Raises:
        ClaimError: no such claim, both a condition and a correction, a verdict for which there is no finding,
            numbers that do not match it.

    >>> from spectralbook.evidence import above, exact
    >>> judge("A5", above("left of a sine", 0.0, 0.5, why="half of it"),
    ...       correction=exact("left of a sine", 0.0), findings={"corrected": "{left:.0%} is left"}, left=0)
    A5 corrected: 0% is left
    """
    parts = {"As stated": _parts(stated), "If": _parts(condition), "Corrected": _parts(correction)}
    if not parts["As stated"] or (parts["If"] and parts["Corrected"]):
        raise ClaimError(
            f"claim {claim_id}: give evidence as stated, and a condition or a correction, not both"
        )
    outcomes = {name: together(evidence) for name, evidence in parts.items() if evidence}
    kind = _kind(outcomes)
    computed = tuple(f"{name}: {part}" for name, evidence in parts.items() for part in evidence)
    if kind not in findings:
        raise ClaimError(
            f"claim {claim_id}: the verdict is {kind!r}, and findings has {', '.join(findings)}: read the"
            f" numbers again and write what they say. {'; '.join(computed)}"
        )
    return Verdict(_claim(claim_id), kind, _filled(claim_id, findings[kind], numbers), computed)


def untestable(claim_id: str, finding: str, **numbers: object) -> Verdict:
    """The verdict on a claim that this book cannot put to the test; ``finding`` says what it would need."""
    return Verdict(_claim(claim_id), "not testable here", _filled(claim_id, finding, numbers))


def _parts(evidence: Evidence | Sequence[Evidence]) -> tuple[Evidence, ...]:
    return (evidence,) if isinstance(evidence, Evidence) else tuple(evidence)


def _kind(outcomes: Mapping[str, Outcome]) -> Kind:
    stated, amended = outcomes["As stated"], outcomes.get("If") or outcomes.get("Corrected") or "refuted"
    if stated == "holds":
        return "holds"
    if "open" in (stated, amended):
        return "not shown here"
    if amended == "refuted":
        return "refuted"
    return "holds if" if "If" in outcomes else "corrected"


def _claim(claim_id: str) -> Claim:
    claims = load()
    if claim_id not in claims:
        raise ClaimError(f"no claim {claim_id!r} in claims.toml; it has {', '.join(claims)}")
    return claims[claim_id]


def _filled(claim_id: str, finding: str, numbers: Mapping[str, object]) -> str:
    fields = {name for _, name, _, _ in Formatter().parse(finding) if name is not None}
    if fields != set(numbers):
        missing, unused = sorted(fields - set(numbers)), sorted(set(numbers) - fields)
        raise ClaimError(f"claim {claim_id}: the finding lacks numbers {missing} and does not use {unused}")
    return finding.format(**numbers)


def verdict(claim_id: str, kind: Kind, finding: str, *, when: bool, **numbers: object) -> Verdict:
    """The verdict on a claim, for as long as the numbers support it.

    `finding` is a format string filled with `numbers`; `when` is the comparison, computed by
    the cell, that the verdict rests on:

    >>> verdict("A5", "corrected", "a sine at 0.5 leaves {left:.1f}", left=0.0, when=True)
    A5 corrected: a sine at 0.5 leaves 0.0
    """
    claim = _claim(claim_id)
    if kind not in KINDS:
        raise ClaimError(f"claim {claim_id}: no verdict {kind!r}; use one of {', '.join(KINDS)}")
    # A number or a tensor would be taken for true as soon as it is not zero.
    if type(when).__name__ not in {"bool", "bool_"}:
        raise ClaimError(f"claim {claim_id}: `when` is {when!r}; give the comparison itself, as bool(...)")
    text = _filled(claim_id, finding, numbers)
    if not when:
        raise ClaimError(f"claim {claim_id}: the numbers no longer support the verdict {kind!r} ({text})")
    return Verdict(claim, kind, text)
