"""Faults made on purpose, and what must be true of the footage after each."""
