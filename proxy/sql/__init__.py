"""The lasting truth: a narrow database interface, named queries in files, numbered migrations. SQLite here."""
