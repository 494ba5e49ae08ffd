"""Witnesses: whoever cosigns checkpoints, so that no log shows two faces (C2SP tlog-witness)."""
