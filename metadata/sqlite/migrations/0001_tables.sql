-- Metaflow's tables and columns (goose version 20260706000003 of its metadata service), as far as SQLite allows.
-- The differences and their reasons: docs/decisions/0002-local-metadata.md.

CREATE TABLE flows_v3 (
    flow_id     TEXT NOT NULL PRIMARY KEY,
    user_name   TEXT,
    ts_epoch    INTEGER NOT NULL,
    tags        TEXT,
    system_tags TEXT
);

CREATE TABLE runs_v3 (
    flow_id           TEXT NOT NULL REFERENCES flows_v3 (flow_id),
    run_number        INTEGER NOT NULL,
    user_name         TEXT,
    ts_epoch          INTEGER NOT NULL,
    tags              TEXT,
    system_tags       TEXT,
    run_id            TEXT,
    last_heartbeat_ts INTEGER,
    PRIMARY KEY (flow_id, run_number)
);
CREATE UNIQUE INDEX runs_v3_flow_id_run_id_key ON runs_v3 (flow_id, run_id) WHERE run_id IS NOT NULL;
CREATE INDEX runs_v3_idx_ts_epoch ON runs_v3 (ts_epoch);
CREATE INDEX runs_v3_idx_flow_ts ON runs_v3 (flow_id, ts_epoch);

CREATE TABLE steps_v3 (
    flow_id     TEXT NOT NULL,
    run_number  INTEGER NOT NULL,
    step_name   TEXT NOT NULL,
    user_name   TEXT,
    ts_epoch    INTEGER NOT NULL,
    tags        TEXT,
    system_tags TEXT,
    run_id      TEXT,
    PRIMARY KEY (flow_id, run_number, step_name),
    FOREIGN KEY (flow_id, run_number) REFERENCES runs_v3 (flow_id, run_number)
) WITHOUT ROWID;

CREATE TABLE tasks_v3 (
    flow_id           TEXT NOT NULL,
    run_number        INTEGER NOT NULL,
    step_name         TEXT NOT NULL,
    task_id           INTEGER NOT NULL,
    user_name         TEXT,
    ts_epoch          INTEGER NOT NULL,
    tags              TEXT,
    system_tags       TEXT,
    run_id            TEXT,
    task_name         TEXT,
    last_heartbeat_ts INTEGER,
    PRIMARY KEY (flow_id, run_number, step_name, task_id),
    FOREIGN KEY (flow_id, run_number, step_name) REFERENCES steps_v3 (flow_id, run_number, step_name)
);
CREATE UNIQUE INDEX tasks_v3_flow_id_run_number_step_name_task_name_key
    ON tasks_v3 (flow_id, run_number, step_name, task_name) WHERE task_name IS NOT NULL;
CREATE INDEX tasks_v3_idx_run_task ON tasks_v3 (flow_id, run_number, task_id);

CREATE TABLE metadata_v3 (
    id          INTEGER NOT NULL PRIMARY KEY,
    flow_id     TEXT NOT NULL,
    run_number  INTEGER NOT NULL,
    step_name   TEXT NOT NULL,
    task_id     INTEGER NOT NULL,
    field_name  TEXT NOT NULL,
    value       TEXT NOT NULL,
    type        TEXT NOT NULL,
    user_name   TEXT,
    ts_epoch    INTEGER NOT NULL,
    tags        TEXT,
    system_tags TEXT,
    run_id      TEXT,
    task_name   TEXT
);
CREATE INDEX metadata_v3_akey ON metadata_v3 (flow_id, run_number, step_name, task_id, field_name);

CREATE TABLE artifact_v3 (
    flow_id      TEXT NOT NULL,
    run_number   INTEGER NOT NULL,
    step_name    TEXT NOT NULL,
    task_id      INTEGER NOT NULL,
    name         TEXT NOT NULL,
    location     TEXT NOT NULL,
    ds_type      TEXT NOT NULL,
    sha          TEXT,
    type         TEXT,
    content_type TEXT,
    user_name    TEXT,
    attempt_id   INTEGER NOT NULL,
    ts_epoch     INTEGER NOT NULL,
    tags         TEXT,
    system_tags  TEXT,
    run_id       TEXT,
    task_name    TEXT,
    PRIMARY KEY (flow_id, run_number, step_name, task_id, attempt_id, name)
) WITHOUT ROWID;

-- What mf knows of a run beyond Metaflow's columns. A run without a row here is none of mf's.
CREATE TABLE mf_runs (
    flow_id    TEXT NOT NULL,
    run_number INTEGER NOT NULL,
    status     TEXT NOT NULL,
    finished   INTEGER NOT NULL,
    origin     TEXT NOT NULL,
    failure    TEXT NOT NULL,
    PRIMARY KEY (flow_id, run_number),
    FOREIGN KEY (flow_id, run_number) REFERENCES runs_v3 (flow_id, run_number)
) WITHOUT ROWID;
