"""Laws that a policy-gradient objective should obey, for the catalogue and for yours.

    from toybed.testing import check_objective
    check_objective(my_loss)          # raises with the smallest counterexample of the first law that fails

``my_loss`` is an :class:`~toybed.objectives.objective.Objective`, or a function ``(log_prob, log_prob_old, advantage,
mask) -> loss`` of tensors ``[B, G, T]``. Cases are drawn and shrunk by hypothesis (``pip install toybed[test]``), in
float64, from small grids, so that a counterexample can be read.
"""

from toybed.testing.cases import REWARDS, Case, LawBroken, Subject, cases, random_case, subject_of
from toybed.testing.checking import Finding, broken, check_objective, examine, findings
from toybed.testing.laws import LAWS, Law
from toybed.testing.likeness import Likeness, likenesses
from toybed.testing.worlds import check_token_env

__all__ = [
    "LAWS",
    "REWARDS",
    "Case",
    "Finding",
    "Law",
    "LawBroken",
    "Likeness",
    "Subject",
    "broken",
    "cases",
    "check_objective",
    "check_token_env",
    "examine",
    "findings",
    "likenesses",
    "random_case",
    "subject_of",
]
