"""Parts of `transcode` and `snapshots`: worker processes that decode and encode, and what the server knows of them.

`worker` and the modules it imports (`audio`, `sample_times`, `video`, `jpeg`, `pictures`, `confinement`) run in a
process of their own; all others run in the server. Both sides know `framing` and `wishes`.
"""
