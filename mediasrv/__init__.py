"""mediasrv: pulls each ONVIF camera once, fans it out to viewers, and keeps its footage sealed."""

__version__ = "0.1.0"
