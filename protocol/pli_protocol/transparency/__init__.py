"""The relay's audit log as both ends see it: a Merkle tree (RFC 9162), its proofs, signed heads.

`hashing` and `frontier` build the tree, `proofs` makes and checks proofs, `heads` and `signing` are
what the relay commits to, `leaves` says what one leaf is. Bytes and values in, bytes and values out.
"""

from .frontier import Frontier, Node
from .hashing import EMPTY_ROOT, leaf_hash, node_hash, root_of
from .head_file import MAX_FILE, HeadFile
from .heads import SignedHead, TreeHead, head_code
from .leaves import (
    MESSAGES,
    Batch,
    batch_body,
    batch_root,
    digest_of,
    leaf_data,
    read_batch,
    row_leaves,
)
from .proofs import (
    MAX_PATH,
    ProofError,
    ReadNode,
    consistency_path,
    inclusion_path,
    verify_consistency,
    verify_inclusion,
)
from .signing import sign_head, verify_head

__all__ = [
    "EMPTY_ROOT",
    "MAX_FILE",
    "MAX_PATH",
    "HeadFile",
    "MESSAGES",
    "Batch",
    "Frontier",
    "Node",
    "ProofError",
    "ReadNode",
    "SignedHead",
    "TreeHead",
    "batch_body",
    "batch_root",
    "consistency_path",
    "digest_of",
    "head_code",
    "inclusion_path",
    "leaf_data",
    "leaf_hash",
    "node_hash",
    "read_batch",
    "root_of",
    "row_leaves",
    "sign_head",
    "verify_consistency",
    "verify_head",
    "verify_inclusion",
]
