"""The commands: one file a group. They work on the stores directly and need no running Farebox."""
