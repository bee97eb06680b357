"""What travels on a network. Sans-IO protocol cores: bytes in, events and bytes out."""
