"""Accounts, API keys and top-ups: SQL is their lasting truth, the ledger hears of every change at once."""
