"""Stage 5: user IDs for accounts that do not exist yet. The rule itself is in the Rust core."""
