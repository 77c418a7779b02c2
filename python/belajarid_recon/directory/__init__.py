"""Stage 4: the service that holds the accounts."""
