"""The query and management APIs of several vendors, each a thin translation of one ledger's rows."""
