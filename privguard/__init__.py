"""privguard: know, limit and prove who saw which client's data."""
