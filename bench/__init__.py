"""The bench of Farebox: what a call and a chunk cost, beside nginx and a bare aiohttp proxy, measured in one run.

`python -m bench` runs it; README.md beside this file says how each figure is measured and how to repeat it.
"""
