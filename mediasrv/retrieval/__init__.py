"""What playback is made of: which cuts play for a span, their playlists, and the timeline."""
