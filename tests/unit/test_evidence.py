"""Verdicts follow from intervals and thresholds: sharper with more data, not turned by what was not found."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectralbook.claims import ClaimError, judge, load, untestable
from spectralbook.evidence import Estimate, Evidence, above, below, exact, fact, near, together

WHY = "for the test"
HOLDS = above("x", Estimate(2, 1, 3), 1, refuted=0, why=WHY)
OPEN = above("x", Estimate(1, -1, 3), 1, refuted=0, why=WHY)
REFUTED = above("x", Estimate(-2, -3, -1), 1, refuted=0, why=WHY)
FINDINGS = dict.fromkeys(("holds", "holds if", "corrected", "refuted", "not shown here"), "{n} found")


@pytest.mark.parametrize(
    ("stated", "amended", "wanted"),
    [
        (HOLDS, {}, "holds"),
        (OPEN, {}, "not shown here"),
        (REFUTED, {}, "refuted"),
        (REFUTED, {"condition": HOLDS}, "holds if"),
        (REFUTED, {"correction": [HOLDS, HOLDS]}, "corrected"),
        (REFUTED, {"condition": OPEN}, "not shown here"),
        (REFUTED, {"correction": [HOLDS, REFUTED]}, "refuted"),
        (OPEN, {"condition": HOLDS}, "not shown here"),
        ([HOLDS, REFUTED, OPEN], {}, "refuted"),
        ([HOLDS, OPEN], {}, "not shown here"),
    ],
)
def test_label_follows_from_the_evidence(stated, amended, wanted: str) -> None:
    found = judge("A1", stated, **amended, findings=FINDINGS, n=3)
    assert found.kind == wanted and found.finding == "3 found" and found.claim is load()["A1"]
    assert f'verdict-{wanted.replace(" ", "-")}">' in found._repr_html_()


@given(
    value=st.floats(-3, 3),
    wide=st.floats(0, 5),
    share=st.floats(0, 1),
    shift=st.floats(-1, 1),
)
def test_a_narrower_interval_never_turns_a_verdict(
    value: float, wide: float, share: float, shift: float
) -> None:
    """What a wide interval decides, every interval inside it decides alike."""
    half = share * wide
    middle = value + shift * (wide - half)
    outer = Estimate(value, value - wide, value + wide)
    inner = Estimate(middle, max(middle - half, outer.low), min(middle + half, outer.high))
    for kind in (above, below):
        limits = (0.5, -0.5) if kind is above else (-0.5, 0.5)
        first, second = (kind("x", e, limits[0], refuted=limits[1], why=WHY) for e in (outer, inner))
        assert first.says in ("open", second.says)
    first, second = (near("x", e, 0, within=0.7, why=WHY) for e in (outer, inner))
    assert first.says in ("open", second.says)


def test_an_effect_of_no_size_is_open_and_not_refuted() -> None:
    """No gain was seen: that is no proof of none, unless the interval excludes every gain that matters."""
    assert above("gain", Estimate(0.0, -1, 1), 0.5, refuted=0.0, why=WHY).says == "open"
    assert above("gain", Estimate(0.0, -0.2, 0.2), 0.5, refuted=0.4, why=WHY).says == "refuted"


@pytest.mark.parametrize(
    ("evidence", "wanted"),
    [
        (below("x", 1.0, 2, why=WHY), "holds"),
        (below("x", 3.0, 2, why=WHY), "refuted"),
        (below("x", Estimate(3, 1, 5), 2, refuted=4, why=WHY), "open"),
        (near("x", 1.04, 1, within=0.05, why=WHY), "holds"),
        (near("x", 1.06, 1, within=0.05, why=WHY), "refuted"),
        (near("x", Estimate(1, 0.9, 1.1), 1, within=0.05, why=WHY), "open"),
        (near("x", Estimate(2, 1.9, 2.1), 1, within=0.05, why=WHY), "refuted"),
        (exact("x", 3e-13), "holds"),
        (exact("x", 3e-7), "refuted"),
        (exact("x", 3e-7, rounding=1e-6), "holds"),
        (fact("x", True), "holds"),
        (fact("x", False), "refuted"),
    ],
)
def test_thresholds(evidence: Evidence, wanted: str) -> None:
    assert evidence.says == wanted == together((evidence,))


def test_box_says_how_it_was_computed_and_prints_no_rounding() -> None:
    found = judge("A1", [exact("difference", 3e-17), HOLDS], findings={"holds": "yes"})
    assert found.computed == (
        "As stated: difference: 0, confirmed at 0 (give or take rounding): holds",
        "As stated: x: 2 [1, 3], confirmed from 1 (for the test): holds",
    )
    assert "<summary>How computed</summary>" in found._repr_html_() and "3e-17" not in found._repr_html_()
    assert "<details>" not in untestable("A1", "no data")._repr_html_()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: above("x", 1, 2, why=""), "say in why="),
        (lambda: above("x", Estimate(1, 0, 2), 2, why=WHY), "needs refuted="),
        (lambda: above("x", 1, 2, refuted=3, why=WHY), "refuted=3 must not exceed the 2"),
        (lambda: below("x", 1, 2, refuted=1, why=WHY), "refuted=1 must not lie below the 2"),
        (lambda: above("x", nan, 2, why=WHY), "no effect with an interval"),
        (lambda: above("x", Estimate(1, 2, 0), 2, refuted=1, why=WHY), "no effect with an interval"),
        (lambda: fact("x", 1), "1 is no comparison"),  # type: ignore[arg-type]
    ],
)
def test_bad_evidence_says_what_is_wrong(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stated": []}, "give evidence as stated"),
        ({"condition": HOLDS, "correction": HOLDS}, "a condition or a correction"),
        ({"findings": {"refuted": "{n}"}}, "the verdict is 'holds', and findings has refuted.*x: 2"),
        ({"findings": {"holds": "{m}"}}, r"lacks numbers \['m'\] and does not use \['n'\]"),
        ({"claim_id": "Z9"}, "no claim 'Z9' in claims.toml"),
    ],
)
def test_bad_judgements_say_what_is_wrong(arguments: dict, message: str) -> None:
    good = {"claim_id": "A1", "stated": HOLDS, "findings": {"holds": "{n}"}, "n": 1}
    with pytest.raises(ClaimError, match=message):
        judge(**good | arguments)


def test_half_lines_are_ranges() -> None:
    assert HOLDS.holds == (1, inf) and REFUTED.refuted == ((-inf, 0),)
