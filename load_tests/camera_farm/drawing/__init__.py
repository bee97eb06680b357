"""The demo's pictures: scenes drawn with nothing but bytes."""
