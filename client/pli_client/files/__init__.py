"""Attachments: encrypted in chunks, size padded, carried in parts, checked before anybody sees them."""

from .names import safe_name
from .sealing import CHUNK_SIZE, FileKey, SealedFile, padded_size, seal, sealed_size, unseal
from .transfer import Progress, download, upload

__all__ = [
    "CHUNK_SIZE",
    "FileKey",
    "Progress",
    "SealedFile",
    "download",
    "padded_size",
    "safe_name",
    "seal",
    "sealed_size",
    "unseal",
    "upload",
]
