"""A camera's ONVIF services: SOAP 1.2 over HTTP, as much as a video server reads.

server.py      HTTP: requests to services, and what faults do to the answers
soap.py        envelopes, faults, names
face.py        how a camera looks: names, credentials, which services it has
access.py      who may call
device.py  media.py  media2.py  events.py  ptz.py    the services
spoiled.py     answers that no client should swallow
"""
