"""Who may do what: places, policy, sessions and the access log."""
