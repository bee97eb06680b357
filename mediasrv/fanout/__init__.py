"""The parts of the WebRTC fan-out, whose door is `mediasrv.webrtc`: streams, viewers, and the ports they come by."""
