"""What survives a run, and what survives a kill: run folders, lock, journal, address ledger, lifecycle."""
