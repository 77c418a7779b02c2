"""Seeded synthetic people over real schools and regions, in the tables a national extract has."""
