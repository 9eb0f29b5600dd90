"""The vault's tables, as migrations: a step is a tuple of SQL statements; a released step never changes.

Ids are bytes (16 unless said otherwise). Times are milliseconds since 1970: `…_at` by this computer's
clock, `time` by the relay's. Booleans are 0 and 1. What is "content" or "message" below is encoded
bytes of pli_protocol; the vault does not look inside.
"""

from typing import Final

Statements = tuple[str, ...]

_WHO: Final[Statements] = (
    # Small facts by name: settings, cursors of bots, the default record system…
    """CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # This device; at most one row. The certificates are absent until enrolment is complete.
    """CREATE TABLE device (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        relay_url TEXT NOT NULL,
        relay_name TEXT,               -- pinned at the first connection
        ca_file TEXT,                  -- the establishment's own CA, PEM text
        proxy TEXT,
        establishment BLOB,            -- fingerprint of the own authority
        account BLOB,
        device_id BLOB,
        identity_key BLOB NOT NULL,    -- secret: Ed25519 seed 32 of the person
        signature_key BLOB NOT NULL,   -- secret: Ed25519 seed 32 of the device
        chain BLOB,                    -- device, person, issuer: MessagePack array of DER
        token BLOB,                    -- secret: the sign-in token kept from the last sign-in
        enrolment BLOB,                -- secret: an enrolment under way, to be taken up after a crash
        created_at INTEGER NOT NULL
    ) STRICT""",
    # The own establishment and its partners.
    """CREATE TABLE establishments (
        fingerprint BLOB PRIMARY KEY,
        own INTEGER NOT NULL,
        name TEXT NOT NULL,
        authority BLOB NOT NULL,       -- DER
        partner_statement BLOB,        -- signed by the own authority; NULL for the own one
        ends_at INTEGER
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE issuers (
        establishment BLOB NOT NULL REFERENCES establishments,
        certificate BLOB NOT NULL,     -- DER
        PRIMARY KEY (establishment, certificate)
    ) STRICT, WITHOUT ROWID""",
    # Every revocation list ever seen, for the chain of their hashes.
    """CREATE TABLE revocation_lists (
        establishment BLOB NOT NULL,
        number INTEGER NOT NULL,
        hash BLOB NOT NULL,            -- 32
        statement BLOB NOT NULL,
        PRIMARY KEY (establishment, number)
    ) STRICT""",
    # A person's own statements about a device of theirs, which count before they are listed.
    """CREATE TABLE device_revocations (
        device_id BLOB PRIMARY KEY,
        person_id BLOB NOT NULL,
        statement BLOB NOT NULL,
        seen_at INTEGER NOT NULL
    ) STRICT""",
    # Everybody ever seen, from verified certificates only.
    """CREATE TABLE people (
        person_id BLOB PRIMARY KEY,
        account BLOB NOT NULL,
        establishment BLOB NOT NULL,
        name TEXT NOT NULL,
        profession TEXT NOT NULL,
        rpps TEXT,
        kind TEXT NOT NULL,            -- person, bot
        identity_key BLOB NOT NULL,    -- public, 32
        certificate BLOB NOT NULL,     -- DER
        issuer BLOB NOT NULL,          -- DER
        first_seen_at INTEGER NOT NULL,
        verified_at INTEGER,           -- the safety number was compared
        in_directory INTEGER NOT NULL DEFAULT 0,
        revoked_at INTEGER
    ) STRICT""",
    "CREATE INDEX people_by_account ON people (account)",
    """CREATE TABLE devices (
        device_id BLOB PRIMARY KEY,
        person_id BLOB NOT NULL REFERENCES people,
        certificate BLOB NOT NULL,     -- DER
        not_after INTEGER NOT NULL,    -- seconds since 1970
        first_seen_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX devices_by_person ON devices (person_id)",
    # Key packages of ours whose private keys are still needed.
    """CREATE TABLE key_packages (
        reference BLOB PRIMARY KEY,    -- RFC 9420 KeyPackageRef
        key_package BLOB NOT NULL,
        secrets BLOB NOT NULL,         -- secret: KeyPackageSecrets
        last_resort INTEGER NOT NULL,
        not_after INTEGER,             -- seconds since 1970
        published INTEGER NOT NULL DEFAULT 0,
        created_at INTEGER NOT NULL
    ) STRICT""",
)

_GROUPS: Final[Statements] = (
    """CREATE TABLE conversations (
        id BLOB PRIMARY KEY,
        title TEXT NOT NULL,
        kind TEXT NOT NULL,            -- team, service (with a bot)
        state TEXT NOT NULL,           -- starting, active, leaving, left, removed, failed
        created_at INTEGER NOT NULL,
        last_activity INTEGER NOT NULL,
        unread INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    "CREATE INDEX conversations_by_activity ON conversations (last_activity DESC)",
    # The MLS groups; a re-founded conversation has had several, one of which is active.
    """CREATE TABLE groups (
        group_id BLOB PRIMARY KEY,     -- 16 to 64
        conversation_id BLOB NOT NULL REFERENCES conversations,
        -- creating, active, closed (re-founded), refused (a commit), lost, stopped (the relay's log
        -- does not hold), left, removed
        state TEXT NOT NULL,
        generation INTEGER NOT NULL,   -- 1 for a conversation's first group, one more per successor
        timeline INTEGER NOT NULL,
        next_seq INTEGER NOT NULL,     -- the guard: rows before it were processed
        chain BLOB NOT NULL,           -- the log's chain hash (32) before next_seq
        epoch INTEGER NOT NULL,
        predecessor BLOB,              -- the group that this one re-founds
        successor BLOB,
        last_send BLOB,                -- send id of this device's newest stored send since it joined
        last_send_seq INTEGER NOT NULL DEFAULT 0,
        leaf_renewed_at INTEGER NOT NULL DEFAULT 0,
        -- Why this device cannot go on in the group: since when, at which row, by whom.
        detail TEXT NOT NULL DEFAULT '',
        trouble_at INTEGER,
        trouble_seq INTEGER,
        culprit BLOB,                  -- device id
        asked_at INTEGER,              -- when this device asked to come back
        created_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX groups_by_conversation ON groups (conversation_id)",
    # Who is in the group now, leaf by leaf, so that members show without loading the group.
    """CREATE TABLE members (
        group_id BLOB NOT NULL REFERENCES groups,
        leaf INTEGER NOT NULL,
        device_id BLOB NOT NULL,
        person_id BLOB NOT NULL,
        joined_epoch INTEGER NOT NULL,
        leaving INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (group_id, leaf)
    ) STRICT, WITHOUT ROWID""",
    # Group.entries(): secret.
    """CREATE TABLE mls_state (
        group_id BLOB NOT NULL REFERENCES groups,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (group_id, key)
    ) STRICT, WITHOUT ROWID""",
    # A commit of ours that has not come back in the log; at most one per group.
    """CREATE TABLE pending_commits (
        group_id BLOB PRIMARY KEY REFERENCES groups,
        send_id BLOB NOT NULL,
        epoch INTEGER NOT NULL,        -- the epoch that it ends
        message BLOB NOT NULL,
        welcome BLOB,
        entries BLOB NOT NULL,         -- secret: Group.entries() of the next epoch
        roster BLOB NOT NULL,          -- RosterChange
        intent BLOB NOT NULL,          -- what it is for, to try again in another epoch
        previous BLOB,
        creates INTEGER NOT NULL DEFAULT 0,  -- it opens the group's log
        created_at INTEGER NOT NULL
    ) STRICT""",
    # Devices that lost their state and ask to be added again.
    """CREATE TABLE returns (
        group_id BLOB NOT NULL REFERENCES groups,
        device_id BLOB NOT NULL,
        person_id BLOB NOT NULL,
        key_package BLOB NOT NULL,
        reason TEXT NOT NULL,
        seq INTEGER NOT NULL,          -- the row that asks
        due_at INTEGER NOT NULL,       -- when this device adds it, unless somebody did
        PRIMARY KEY (group_id, device_id)
    ) STRICT, WITHOUT ROWID""",
    # What the person wants of a group (add, remove, rename…) until it came about.
    """CREATE TABLE intents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id BLOB NOT NULL REFERENCES conversations,
        kind TEXT NOT NULL,
        body BLOB NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL,           -- waiting, failed
        error TEXT NOT NULL DEFAULT '',
        created_at INTEGER NOT NULL
    ) STRICT""",
    # The GroupContext of each epoch in which messages were signed, for their proofs; never secret.
    """CREATE TABLE epochs (
        group_id BLOB NOT NULL REFERENCES groups,
        epoch INTEGER NOT NULL,
        context BLOB NOT NULL,
        authenticator BLOB NOT NULL,
        since INTEGER NOT NULL,
        PRIMARY KEY (group_id, epoch)
    ) STRICT, WITHOUT ROWID""",
    # Welcomes that wait to be used, or could not be.
    """CREATE TABLE welcomes (
        item BLOB PRIMARY KEY,
        group_id BLOB NOT NULL,
        body BLOB NOT NULL,            -- the WelcomeWaiting frame
        state TEXT NOT NULL,           -- waiting, refused
        reason TEXT NOT NULL DEFAULT '',
        time INTEGER NOT NULL
    ) STRICT""",
    # The log's rows as they were sent or received, kept for the repair window (8 days).
    """CREATE TABLE rows (
        group_id BLOB NOT NULL,
        timeline INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        kind TEXT NOT NULL,
        sender BLOB NOT NULL,
        send_id BLOB NOT NULL,
        message BLOB NOT NULL,         -- the payload's bytes, also where it came as a blob
        chain BLOB NOT NULL,
        time INTEGER NOT NULL,
        PRIMARY KEY (group_id, timeline, seq)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX rows_by_time ON rows (time)",
    # Rows that could not be processed, with their bytes; shown, and never in the way of the next.
    """CREATE TABLE quarantine (
        group_id BLOB NOT NULL,
        timeline INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        sender BLOB NOT NULL,
        kind TEXT NOT NULL,
        message BLOB NOT NULL,
        reason TEXT NOT NULL,
        time INTEGER NOT NULL,
        PRIMARY KEY (group_id, timeline, seq)
    ) STRICT, WITHOUT ROWID""",
)

_MESSAGES: Final[Statements] = (
    # `id` is the order in which messages came here; the order shown is (generation, timeline, seq, id).
    """CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id BLOB NOT NULL UNIQUE,   -- 32
        conversation_id BLOB NOT NULL REFERENCES conversations,
        sender BLOB NOT NULL,              -- person_id
        device_id BLOB NOT NULL,
        kind TEXT NOT NULL,                -- post, members, rename, attach, detach, objection, filed…
        content BLOB NOT NULL,             -- pli_protocol.content, the very bytes that were signed
        text TEXT NOT NULL DEFAULT '',     -- what search looks through
        in_reply_to BLOB,
        urgent INTEGER NOT NULL DEFAULT 0,
        expires_at INTEGER,
        sent_at INTEGER NOT NULL,          -- the sender's clock, for display only
        state TEXT NOT NULL,               -- queued, stored (own ones), received, failed, refused
        -- where it stands in the log, and what proves its author; absent while queued
        generation INTEGER NOT NULL DEFAULT 9007199254740992,
        group_id BLOB,
        timeline INTEGER,
        seq INTEGER,
        epoch INTEGER,
        time INTEGER,
        signed BLOB,                       -- AuthenticatedContent
        read_at INTEGER
    ) STRICT""",
    """CREATE INDEX messages_by_position
        ON messages (conversation_id, generation, timeline, seq, id)""",
    "CREATE INDEX messages_by_row ON messages (group_id, timeline, seq)",
    """CREATE INDEX messages_unread ON messages (conversation_id) WHERE read_at IS NULL""",
    # Everything that this device has to send, in order; gone when its row came back.
    """CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id BLOB NOT NULL REFERENCES conversations,
        message_id BLOB NOT NULL UNIQUE,
        content BLOB NOT NULL,
        kind TEXT NOT NULL DEFAULT 'message',  -- message, leave (a proposal to remove this device)
        shown INTEGER NOT NULL DEFAULT 1,  -- 0: a control message without a row in messages
        state TEXT NOT NULL,               -- waiting, sealed, stored (its row is still to come), failed
        -- set when it is sealed
        group_id BLOB,
        epoch INTEGER,
        send_id BLOB UNIQUE,
        previous BLOB,
        ciphertext BLOB,
        signed BLOB,
        reason TEXT NOT NULL DEFAULT '',
        queued_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX outbox_by_conversation ON outbox (conversation_id, id)",
    # A message stands in a record. Kept for ever: detaching sets the last columns.
    """CREATE TABLE records (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id BLOB NOT NULL,
        system TEXT NOT NULL,
        record_id TEXT NOT NULL,
        note_type TEXT,
        attached_by BLOB NOT NULL,         -- person_id
        attach_message BLOB NOT NULL,      -- the message that says so; the message itself at writing
        attached_at INTEGER NOT NULL,
        detached_by BLOB,
        detach_message BLOB,
        detached_at INTEGER,
        filing TEXT,                       -- waiting, filed, refused
        receipt BLOB,
        filed_at INTEGER,
        UNIQUE (message_id, system, record_id, attach_message)
    ) STRICT""",
    "CREATE INDEX records_by_record ON records (system, record_id)",
    "CREATE INDEX records_by_message ON records (message_id)",
    """CREATE TABLE objections (
        message_id BLOB NOT NULL,
        system TEXT NOT NULL,
        record_id TEXT NOT NULL,
        person_id BLOB NOT NULL,
        objection_message BLOB NOT NULL UNIQUE,
        reason TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT""",
    # Attachments, in and out. The ciphertext of an outgoing one lies in the vault's folder until
    # it is at the relay.
    """CREATE TABLE files (
        blob BLOB PRIMARY KEY,             -- 32
        message_id BLOB,
        part INTEGER,
        key BLOB NOT NULL,                 -- secret, 32
        name TEXT NOT NULL,
        mime TEXT NOT NULL,
        size INTEGER NOT NULL,             -- bytes of the plain file
        sha256 BLOB NOT NULL,              -- of the plain file
        sealed_size INTEGER NOT NULL,      -- bytes of the blob
        sealed_file TEXT,                  -- name within the vault's folder `files`
        uploaded INTEGER NOT NULL DEFAULT 0,   -- bytes that the relay took
        state TEXT NOT NULL,               -- uploading, remote, here
        created_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX files_by_message ON files (message_id)",
    # Search: every word of messages.text, without its accents. Kept by the triggers below.
    """CREATE VIRTUAL TABLE message_search USING fts5 (
        text, content = 'messages', content_rowid = 'id',
        tokenize = "unicode61 remove_diacritics 2"
    )""",
    "INSERT INTO message_search (message_search, rank) VALUES ('secure-delete', 1)",
    """CREATE TRIGGER message_written AFTER INSERT ON messages BEGIN
        INSERT INTO message_search (rowid, text) VALUES (new.id, new.text);
    END""",
    """CREATE TRIGGER message_deleted AFTER DELETE ON messages BEGIN
        INSERT INTO message_search (message_search, rowid, text)
        VALUES ('delete', old.id, old.text);
    END""",
    """CREATE TRIGGER message_rewritten AFTER UPDATE OF text ON messages BEGIN
        INSERT INTO message_search (message_search, rowid, text)
        VALUES ('delete', old.id, old.text);
        INSERT INTO message_search (rowid, text) VALUES (new.id, new.text);
    END""",
    # Durable events of the SDK: a reader's cursor is a row of `meta`.
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id BLOB,
        kind TEXT NOT NULL,
        body BLOB NOT NULL,
        at INTEGER NOT NULL
    ) STRICT""",
)

_BOTS_AND_ISSUERS: Final[Statements] = (
    # The DUI bot: what it filed, so that asking again gives the same receipt.
    """CREATE TABLE filings (
        message_id BLOB NOT NULL,
        system TEXT NOT NULL,
        record_id TEXT NOT NULL,
        receipt BLOB NOT NULL,
        document TEXT NOT NULL,            -- name of the file in the outbox folder
        filed_at INTEGER NOT NULL,
        PRIMARY KEY (message_id, system, record_id)
    ) STRICT""",
    # The establishment's issuer (a vault of kind `issuer`); at most one row.
    """CREATE TABLE issuer (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        establishment BLOB NOT NULL,
        name TEXT NOT NULL,
        relay_url TEXT NOT NULL,
        relay_name TEXT,
        ca_file TEXT,
        proxy TEXT,
        authority BLOB NOT NULL,           -- DER
        certificate BLOB NOT NULL,         -- DER
        signature_key BLOB NOT NULL,       -- secret: Ed25519 seed 32
        enrolment_key BLOB NOT NULL,       -- secret: X25519 private key 32
        enrolment_statement BLOB NOT NULL,
        token BLOB,                        -- secret: the sign-in token
        registered INTEGER NOT NULL DEFAULT 0,
        created_at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE invitations (
        id BLOB PRIMARY KEY,
        secret_hash BLOB NOT NULL UNIQUE,  -- SHA-256 of the code's secret; the secret is not kept
        account BLOB NOT NULL,
        name TEXT NOT NULL,
        profession TEXT NOT NULL,
        rpps TEXT,
        kind TEXT NOT NULL,                -- person, bot
        account_ends_at INTEGER,
        expires_at INTEGER NOT NULL,
        used_by BLOB,                      -- request id of the enrolment that used it
        created_at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE accounts (
        account BLOB PRIMARY KEY,
        person_id BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL,
        profession TEXT NOT NULL,
        rpps TEXT,
        kind TEXT NOT NULL,
        identity_key BLOB NOT NULL,
        certificate BLOB NOT NULL,
        signed_at INTEGER NOT NULL,
        revoked_at INTEGER,
        reason TEXT
    ) STRICT""",
    # Answers given, so that a request that comes again gets the same one.
    """CREATE TABLE enrolments (
        request_id BLOB PRIMARY KEY,
        request_hash BLOB NOT NULL,
        answer BLOB NOT NULL,              -- sealed
        certificate BLOB,
        delivered INTEGER NOT NULL DEFAULT 0,
        at INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE issued_revocations (
        number INTEGER PRIMARY KEY,
        statement BLOB NOT NULL,
        published INTEGER NOT NULL DEFAULT 0,
        at INTEGER NOT NULL
    ) STRICT""",
)

_ENTRIES_IN_ROWS: Final[Statements] = (
    # An index's cell over 1 KB spills into a page of its own, and a table WITHOUT ROWID is one index:
    # the nodes of a post-quantum group took 4 KiB each. As rows they lie two or three in a page.
    "ALTER TABLE mls_state RENAME TO mls_state_before",
    """CREATE TABLE mls_state (
        group_id BLOB NOT NULL REFERENCES groups,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (group_id, key)
    ) STRICT""",
    """INSERT INTO mls_state SELECT group_id, key, value FROM mls_state_before
        ORDER BY group_id, key""",
    "DROP TABLE mls_state_before",
)

# The relay's signed tree heads that this vault was shown, and evidence of two that do not agree.
_HEADS: Final[Statements] = (
    """CREATE TABLE log_key (
        relay TEXT PRIMARY KEY,
        key BLOB NOT NULL,
        since INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE log_heads (
        timeline INTEGER PRIMARY KEY,
        head BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE log_heads_told (
        conversation_id BLOB PRIMARY KEY,
        timeline INTEGER NOT NULL,
        size INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE log_evidence (
        id INTEGER PRIMARY KEY,
        reason TEXT NOT NULL,
        ours BLOB,
        other BLOB NOT NULL,
        by BLOB,
        at INTEGER NOT NULL
    ) STRICT""",
)

# Account password, second factor, further devices that were linked or asked to be.
_ACCOUNTS: Final[Statements] = (
    # A device that asks to be linked to its person's account, before it has a certificate.
    """CREATE TABLE linking (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        address TEXT NOT NULL,         -- of the account, as it was typed
        signature_key BLOB NOT NULL,   -- secret: Ed25519 seed 32 of the device
        kem_key BLOB,                  -- secret: X-Wing private key of the request
        request BLOB,
        ca_file TEXT,
        proxy TEXT,
        created_at INTEGER NOT NULL
    ) STRICT""",
    # Devices of one's own that have a name, or that this device has linked.
    """CREATE TABLE linked_devices (
        device_id BLOB PRIMARY KEY,
        name TEXT NOT NULL,
        state TEXT NOT NULL,           -- approved, then known: its conversations are asked to add it
        at INTEGER NOT NULL
    ) STRICT""",
)

# Identity keys that were replaced, authorities and issuers that followed others.
_SUCCESSION: Final[Statements] = (
    # The person (id) whose account another key takes over by this invitation.
    "ALTER TABLE invitations ADD COLUMN replaces BLOB",
    # Who signed it (DER); NULL: this vault's issuer.
    "ALTER TABLE accounts ADD COLUMN issuer BLOB",
    # A newer certificate that the relay does not have yet.
    "ALTER TABLE accounts ADD COLUMN unpublished INTEGER NOT NULL DEFAULT 0",
    # An issuer's vault: those that it signed; a person's: those that it was shown.
    """CREATE TABLE replacements (
        replaced BLOB NOT NULL,        -- person_id of before
        successor BLOB NOT NULL,       -- person_id
        account BLOB NOT NULL,
        statement BLOB NOT NULL,
        seen_at INTEGER NOT NULL,
        PRIMARY KEY (replaced, successor)
    ) STRICT, WITHOUT ROWID""",
    # Anybody can name anybody's device in a statement of its own: one of each person about it.
    "ALTER TABLE device_revocations RENAME TO device_revocations_before",
    """CREATE TABLE device_revocations (
        person_id BLOB NOT NULL,       -- who says so
        device_id BLOB NOT NULL,
        statement BLOB NOT NULL,
        seen_at INTEGER NOT NULL,
        PRIMARY KEY (person_id, device_id)
    ) STRICT""",
    """INSERT INTO device_revocations
        SELECT person_id, device_id, statement, seen_at FROM device_revocations_before""",
    "DROP TABLE device_revocations_before",
    # Authorities that followed the first one: shown by the relay, accepted by the person.
    """CREATE TABLE authority_changes (
        number INTEGER PRIMARY KEY,
        change BLOB NOT NULL,
        seen_at INTEGER NOT NULL,
        accepted_at INTEGER
    ) STRICT""",
    # This device takes a new identity; at most one row, gone when it has.
    """CREATE TABLE rejoining (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        identity_key BLOB NOT NULL,    -- secret: Ed25519 seed 32
        signature_key BLOB NOT NULL,   -- secret: Ed25519 seed 32
        enrolment BLOB NOT NULL        -- secret: the enrolment under way
    ) STRICT""",
)

# Partner establishments; a professional's vault has them in `establishments`.
_PARTNERS: Final[Statements] = (
    # What the authority signed of other establishments, newest alone; in an issuer's vault.
    """CREATE TABLE issued_partners (
        partner BLOB PRIMARY KEY,          -- establishment, 16
        name TEXT NOT NULL,
        fingerprint BLOB NOT NULL,         -- of the partner's authority, 32
        authority BLOB NOT NULL,           -- DER
        statement BLOB NOT NULL,
        until INTEGER NOT NULL,            -- seconds since 1970
        signed_at INTEGER NOT NULL,        -- seconds since 1970
        published INTEGER NOT NULL         -- 1 at the relay, 0 not yet, -1 refused
    ) STRICT""",
)

# What is kept to mend a relay that was restored from a backup.
_REPAIR: Final[Statements] = (
    # How far a group's log of an older timeline is known here.
    """CREATE TABLE old_logs (
        group_id BLOB NOT NULL,
        timeline INTEGER NOT NULL,
        next_seq INTEGER NOT NULL,
        chain BLOB NOT NULL,           -- before next_seq
        PRIMARY KEY (group_id, timeline)
    ) STRICT, WITHOUT ROWID""",
    # The relay's timeline for which what it lacked of a group was brought.
    """CREATE TABLE mended (
        group_id BLOB PRIMARY KEY,
        timeline INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # The Welcomes of this device's commits, kept for the repair window (8 days).
    """CREATE TABLE sent_welcomes (
        group_id BLOB NOT NULL,
        timeline INTEGER NOT NULL,
        seq INTEGER NOT NULL,          -- of the commit
        welcome BLOB NOT NULL,
        time INTEGER NOT NULL,
        PRIMARY KEY (group_id, timeline, seq)
    ) STRICT""",
    # Own sends that the restored relay did not hold, and which were sealed again under other ids.
    """CREATE TABLE sealed_again (
        group_id BLOB NOT NULL,
        send_id BLOB NOT NULL,
        message_id BLOB NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (group_id, send_id)
    ) STRICT, WITHOUT ROWID""",
)

MIGRATIONS: Final[tuple[Statements, ...]] = (
    _WHO + _GROUPS + _MESSAGES + _BOTS_AND_ISSUERS,
    _ENTRIES_IN_ROWS,
    _HEADS + _ACCOUNTS + _SUCCESSION + _PARTNERS + _REPAIR,
)
