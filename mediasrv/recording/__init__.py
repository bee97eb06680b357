"""The parts of the recorder: one stream into sealed objects, objects into storage, facts into the catalogue."""
