"""From the ledger's streams to SQL and back: the recorder, the audit, the rebuild, the epoch, and the listings."""
