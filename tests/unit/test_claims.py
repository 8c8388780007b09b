import pytest

from spectralbook import claims
from spectralbook.claims import ClaimError, load, verdict


def test_ledger_names_known_sources_and_a_chapter() -> None:
    ledger = load()
    assert {"A1", "A1p", "A1b", "N1"} <= set(ledger)
    for name, claim in ledger.items():
        assert claim.id == name
        assert claim.source in {
            "spectral-biases post",
            "frequency-bias summary",
            "FANS draft",
            "FANS post",
            "Falck et al. (2025)",
            "this book",
            "Align Your Steps",
            "Beta Sampling",
            "adapter study",
        }
        assert claim.chapter.startswith("notebooks/")


def test_verdict_reads_as_text_and_as_a_box() -> None:
    found = verdict("A5", "corrected", "{left:.2f} of it < 1", left=0.123, when=True)
    assert repr(found) == "A5 corrected: 0.12 of it < 1"
    html = found._repr_html_()
    assert 'id="claim-A5"' in html and 'data-verdict="corrected"' in html
    assert 'data-finding="0.12 of it &lt; 1"' in html
    assert load()["A5"].statement in html


def test_every_kind_has_its_own_badge() -> None:
    for kind in claims.KINDS:
        box = verdict("A5", kind, "x", when=True)._repr_html_()
        assert f'verdict-{kind.replace(" ", "-")}">{kind}</span>' in box


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"when": False}, "the numbers no longer support the verdict 'holds' \\(a 0.5\\)"),
        ({"claim_id": "Z9"}, "no claim 'Z9' in claims.toml; it has A1, A1p"),
        ({"kind": "true"}, "no verdict 'true'; use one of holds, holds if"),
        ({"when": 0.3}, "give the comparison itself"),
        ({"when": "no"}, "give the comparison itself"),
        ({"finding": "b"}, r"lacks numbers \[\] and does not use \['a'\]"),
        ({"finding": "a {a} {b}"}, r"lacks numbers \['b'\] and does not use \[\]"),
    ],
)
def test_bad_verdicts_say_what_is_wrong(arguments: dict[str, object], message: str) -> None:
    good = {"claim_id": "A1", "kind": "holds", "finding": "a {a:.1f}", "when": True, "a": 0.5}
    with pytest.raises(ClaimError, match=message):
        verdict(**good | arguments)


def test_numpy_comparisons_count_as_comparisons() -> None:
    import numpy as np

    assert verdict("A1", "holds", "x", when=np.float64(1) < 2).kind == "holds"
    with pytest.raises(ClaimError, match="no longer support"):
        verdict("A1", "holds", "x", when=np.float64(1) > 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[claim]]\nid = "A"\n', "claim 1 needs exactly the non-empty texts id, statement, source, chapter"),
        ('[[claim]]\nid = "A"\nstatement = ""\nsource = "s"\nchapter = "c"\n', "non-empty"),
        ('[[claim]]\nid = "A"\nstatement = "x"\nsource = "s"\nchapter = "c"\n' * 2, "'A' is there twice"),
    ],
)
def test_bad_ledgers_say_what_is_wrong(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(text)
    with pytest.raises(ClaimError, match=message):
        load(path)
