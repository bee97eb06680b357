"""What a stream is. Pure: standard library only, no clock, no socket; `now` is an argument."""
