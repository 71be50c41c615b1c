"""credits.dev's API: usage, accounts, credits, transactions, reservations and models, over the same ledger as everything.

Paths and shapes are the published ones (www.credits.dev/docs/api); errors, pages and dates of lists are ours. `X-API-Key` is an
account's key, which sees its own account and records and reserves on it, or an administrator's credential, which sees all and
makes accounts and credits. Amounts are credits, `...CostUsd` are dollars at the price book's rates; both are exact.
"""
