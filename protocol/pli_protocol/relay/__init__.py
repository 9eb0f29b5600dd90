"""The protocol between client and relay: frames, their encoding, the log's hash chain, error codes."""
