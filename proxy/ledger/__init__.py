"""The credit ledger over Redis: one script a change, typed methods over the scripts, a reaper for abandoned holds."""
