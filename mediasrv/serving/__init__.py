"""Parts of `rtsp_serve`: a stream's feed, its readers over TCP and UDP, a connection, what DESCRIBE says."""
