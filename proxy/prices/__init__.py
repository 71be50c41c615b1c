"""What models cost: the price book that is shipped, and what the configuration says otherwise.

Knows nothing of calls and accounts; `proxy.core.pricing` has the arithmetic.
"""
