"""The journey of a call, one room a file; `handle.py` tells the story."""
