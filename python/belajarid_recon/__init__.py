"""Reconciles belajar.id Google Workspace accounts with the national school register, Dapodik."""

__version__ = "0.1.0"
