"""Prove it again: challenges, factors, grants. Pure: the shell brings time, chance and the store."""
