"""Farebox: the metered, prepaid reverse proxy for LLM APIs."""

__version__ = "0.1.0"
