"""The parts of `check`: where one was cut off, and what it shows of itself."""
