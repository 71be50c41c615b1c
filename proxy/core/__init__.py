"""Pure rules: money, usage, pricing, limits, hold states, errors, ids, clock. No I/O, no asyncio, standard library only."""
