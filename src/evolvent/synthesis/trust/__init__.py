"""Makes every task prove itself: the oracle is right, nothing else is, and nobody can look behind the curtain."""

from evolvent.synthesis.trust.examine import examine
from evolvent.synthesis.trust.plan import Proof
from evolvent.synthesis.trust.refusal import refuse_unproven
from evolvent.synthesis.trust.subjects import Subject, find_subject
from evolvent.synthesis.trust.verdict import CHECKS, Check, Flaw, Status, TrustReport, as_plain

__all__ = [
    "CHECKS",
    "Check",
    "Flaw",
    "Proof",
    "Status",
    "Subject",
    "TrustReport",
    "as_plain",
    "examine",
    "find_subject",
    "refuse_unproven",
]
