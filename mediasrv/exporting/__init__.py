"""The parts of an export: which footage, its files, its manifest and note, and where it lies until it is fetched."""
