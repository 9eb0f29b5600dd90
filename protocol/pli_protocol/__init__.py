"""What client and relay agree upon: MLS, identities, message content, wire frames."""
