"""Stage 1: the extract as it came, checked, and cut into parts by person."""
