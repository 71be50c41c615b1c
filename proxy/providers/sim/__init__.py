"""A small simulated model behind real HTTP: deterministic answers with real token counts, to try Farebox and to test it."""
