"""Stage 1, who asks: claims, signed tokens and signed assertions of a proxy become a Principal. Pure."""

from privguard.identity.claims import AssuranceMap, ClaimMap, read_principal, session_name
from privguard.identity.jwt import TokenRules, UnknownKeyError, VerifiedToken, read_keys, verify_token
from privguard.identity.proxy import (
    PROOF_HEADERS,
    ProxyRules,
    ReplayWindow,
    SignedRequest,
    sign_assertion,
    verify_assertion,
)

__all__ = [
    "PROOF_HEADERS",
    "AssuranceMap",
    "ClaimMap",
    "ProxyRules",
    "ReplayWindow",
    "SignedRequest",
    "TokenRules",
    "UnknownKeyError",
    "VerifiedToken",
    "read_keys",
    "read_principal",
    "session_name",
    "sign_assertion",
    "verify_assertion",
    "verify_token",
]
