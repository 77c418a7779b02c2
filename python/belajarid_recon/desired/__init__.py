"""Stage 3: what should exist, by the regulation in force."""
