"""Stage 3, may they and how much: policy files to plans that judge records.

``load`` reads a file, ``lint`` finds what is wrong with it, ``compile_policy`` makes the ``Policy`` whose
``match`` and ``plan`` the exchange calls; ``explain`` says why, ``suite`` runs the tests beside a policy.
"""

from privguard.policy.compile import compile_policy
from privguard.policy.decide import Policy
from privguard.policy.decoys import WithoutDecoys
from privguard.policy.document import Document, json_schema
from privguard.policy.effects import Effect
from privguard.policy.granted import GrantedPlan
from privguard.policy.lint import lint
from privguard.policy.load import load
from privguard.policy.references import Finding
from privguard.policy.refuse import demanded
from privguard.policy.source import InvalidPolicyError

__all__ = [
    "Document",
    "Effect",
    "Finding",
    "GrantedPlan",
    "InvalidPolicyError",
    "Policy",
    "WithoutDecoys",
    "compile_policy",
    "demanded",
    "json_schema",
    "lint",
    "load",
]
