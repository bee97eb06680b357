"""The parts of `rtsp_pull`: the connection, the choice of tracks, and the reading of many streams at once."""
