"""Stage 6: an ordered, digested, reviewable set of steps."""
