"""The operators' side: metrics, readiness, and what administrators need."""
