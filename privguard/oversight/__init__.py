"""Compliance work on the trail: search, reports, exports, statements. Every look at it is on it (L15)."""
