-- The bearer tokens of the metadata service.
-- Times are in seconds since 1970; 0 is never.

CREATE TABLE mf_tokens (
    id       TEXT NOT NULL PRIMARY KEY,
    name     TEXT NOT NULL,
    role     TEXT NOT NULL,
    flows    TEXT NOT NULL,
    projects TEXT NOT NULL,
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    revoked  INTEGER NOT NULL,
    hash     BLOB NOT NULL
) WITHOUT ROWID;
