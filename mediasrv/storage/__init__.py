"""Where footage waits and lies: sealing, the spool, the object store, and reading it back."""
