"""Appliers under test: the real one, started and killed in numbers, and a naive one that the same oracle must catch."""
