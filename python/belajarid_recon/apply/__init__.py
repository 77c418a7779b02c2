"""Stage 7: carry out a plan, and go on with one that was interrupted."""
