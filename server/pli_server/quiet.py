"""A logger that says nothing, for a library whose own log would name addresses."""

import logging


def silent_logger() -> logging.Logger:
    """The websockets library tells addresses, and prints tracebacks of handshakes gone wrong."""
    logger = logging.getLogger("pli_server.websockets")
    logger.setLevel(logging.CRITICAL + 1)
    logger.propagate = False
    return logger
