package postgres

import (
	"strconv"

	"github.com/mf-run/mf/metadata/tables"
)

// tableNames are Metaflow's tables.
var tableNames = []string{"flows_v3", "runs_v3", "steps_v3", "tasks_v3", "metadata_v3", "artifact_v3"}

// migration is one of the migrations of Metaflow's metadata service, in our own words: each leaves the database as the
// original does, so that either may go on where the other stopped. Its version is the original's.
type migration struct {
	version int64
	does    string
	// change is made in one transaction, indices with it; without change, indices are made and then dropped ones removed
	// while others write.
	change  []string
	indices []index
	drop    []string
}

type index struct {
	name, table, on string
}

// create is the statement; mode is "CONCURRENTLY" or empty.
func (i *index) create(mode string) string {
	return "CREATE INDEX " + mode + " IF NOT EXISTS " + i.name + " ON " + i.table + " " + i.on
}

func (m *migration) describe() tables.Migration {
	return tables.Migration{Version: strconv.FormatInt(m.version, 10), Does: m.does}
}

var migrations = []migration{
	{
		version: 1,
		does:    "makes the tables for flows, runs, steps, tasks, metadata and artifacts",
		change:  firstTables,
	},
	{
		version: 20200603104139,
		does:    "adds names of runs and tasks, and heartbeats; locks the tables while their unique indices are made",
		change: []string{
			`ALTER TABLE runs_v3
				ADD COLUMN IF NOT EXISTS run_id varchar(255),
				ADD COLUMN IF NOT EXISTS last_heartbeat_ts bigint,
				DROP CONSTRAINT IF EXISTS runs_v3_flow_id_run_id_key,
				ADD CONSTRAINT runs_v3_flow_id_run_id_key UNIQUE (flow_id, run_id)`,
			`ALTER TABLE steps_v3
				ADD COLUMN IF NOT EXISTS run_id varchar(255),
				DROP CONSTRAINT IF EXISTS steps_v3_flow_id_run_id_step_name_key,
				ADD CONSTRAINT steps_v3_flow_id_run_id_step_name_key UNIQUE (flow_id, run_id, step_name)`,
			`ALTER TABLE tasks_v3
				ADD COLUMN IF NOT EXISTS run_id varchar(255),
				ADD COLUMN IF NOT EXISTS task_name varchar(255),
				ADD COLUMN IF NOT EXISTS last_heartbeat_ts bigint,
				DROP CONSTRAINT IF EXISTS tasks_v3_flow_id_run_number_step_name_task_name_key,
				ADD CONSTRAINT tasks_v3_flow_id_run_number_step_name_task_name_key
					UNIQUE (flow_id, run_number, step_name, task_name)`,
			`ALTER TABLE metadata_v3
				ADD COLUMN IF NOT EXISTS run_id varchar(255),
				ADD COLUMN IF NOT EXISTS task_name varchar(255)`,
			`ALTER TABLE artifact_v3
				ADD COLUMN IF NOT EXISTS run_id varchar(255),
				ADD COLUMN IF NOT EXISTS task_name varchar(255)`,
		},
	},
	{
		version: 20201002000616,
		does:    "lets a task have several metadata rows of one name; locks the metadata table while its key is made",
		change: []string{
			`ALTER TABLE metadata_v3
				DROP CONSTRAINT IF EXISTS metadata_v3_pkey,
				ADD PRIMARY KEY (id, flow_id, run_number, step_name, task_id, field_name)`,
		},
		indices: []index{{"metadata_v3_akey", "metadata_v3", "(flow_id, run_number, step_name, task_id, field_name)"}},
	},
	{
		version: 20210202145952,
		does:    "makes indices of runs by time, tag and user",
		indices: []index{
			{"runs_v3_idx_ts_epoch", "runs_v3", "(ts_epoch)"},
			{"runs_v3_idx_gin_tags_combined", "runs_v3", "USING gin ((tags || system_tags))"},
			{"runs_v3_idx_flow_id_asc_ts_epoch_desc", "runs_v3", "(flow_id, ts_epoch DESC)"},
			{
				"runs_v3_idx_user_asc_ts_epoch_desc", "runs_v3",
				"((CASE WHEN system_tags ? ('user:' || user_name) THEN user_name ELSE NULL END), ts_epoch DESC)",
			},
		},
	},
	{
		version: 20210260056859,
		does:    "makes an index of named tasks",
		indices: []index{{
			"tasks_v3_idx_flow_id_run_id_step_name_task_name", "tasks_v3",
			"(flow_id, run_id, step_name, task_name) WHERE run_id IS NOT NULL AND task_name IS NOT NULL",
		}},
	},
	{
		version: 20211202100726,
		does:    "makes indices of what belongs to named runs",
		indices: []index{
			{"runs_v3_idx_str_ids_primary_key", "runs_v3", "(flow_id, run_id) WHERE run_id IS NOT NULL"},
			{"steps_v3_idx_str_ids_primary_key", "steps_v3", "(flow_id, run_id, step_name) WHERE run_id IS NOT NULL"},
			{
				"metadata_v3_idx_str_ids_primary_key", "metadata_v3",
				"(id, flow_id, run_id, step_name, task_name, field_name) WHERE run_id IS NOT NULL AND task_name IS NOT NULL",
			},
			{
				"artifact_v3_idx_str_ids_primary_key", "artifact_v3",
				"(flow_id, run_id, step_name, task_name, attempt_id, name) WHERE run_id IS NOT NULL AND task_name IS NOT NULL",
			},
		},
	},
	{
		version: 20220503175500,
		does:    "makes an index of the newest runs",
		indices: []index{{"runs_v3_idx_epoch_ts_desc", "runs_v3", "(ts_epoch DESC)"}},
	},
	{
		version: 20230118020300,
		does:    "makes the indices of what has names anew, for all rows, and drops those before",
		indices: []index{
			{"runs_v3_idx_str_ids_primary_key_v2", "runs_v3", "(flow_id, run_id)"},
			{"steps_v3_idx_str_ids_primary_key_v2", "steps_v3", "(flow_id, run_id, step_name)"},
			{"tasks_v3_idx_flow_id_run_id_step_name_task_name_v2", "tasks_v3", "(flow_id, run_id, step_name, task_name)"},
			{"metadata_v3_idx_str_ids_a_key", "metadata_v3", "(flow_id, run_id, step_name, task_name, field_name)"},
			{"metadata_v3_idx_str_ids_a_key_with_task_id", "metadata_v3", "(flow_id, run_id, step_name, task_id, field_name)"},
			{
				"artifact_v3_idx_str_ids_primary_key_v2", "artifact_v3",
				"(flow_id, run_id, step_name, task_name, attempt_id, name)",
			},
			{
				"artifact_v3_idx_str_ids_primary_key_with_task_id", "artifact_v3",
				"(flow_id, run_id, step_name, task_id, attempt_id, name)",
			},
		},
		drop: []string{
			"runs_v3_idx_str_ids_primary_key", "steps_v3_idx_str_ids_primary_key",
			"tasks_v3_idx_flow_id_run_id_step_name_task_name", "metadata_v3_idx_str_ids_primary_key",
			"artifact_v3_idx_str_ids_primary_key",
		},
	},
	{
		version: 20260615000000,
		does:    "makes an index for pages of runs",
		indices: []index{{"runs_v3_idx_flow_ts_runnum_desc", "runs_v3", "(flow_id, ts_epoch DESC, run_number DESC)"}},
	},
	{
		version: 20260706000000,
		does:    "makes an index for pages of artifacts",
		indices: []index{{"artifact_v3_idx_latest_attempt", "artifact_v3", "(flow_id, run_number, task_id, name, ts_epoch DESC)"}},
	},
	{
		version: 20260706000001,
		does:    "makes an index for pages of flows",
		indices: []index{{"flows_v3_idx_ts_flow_desc", "flows_v3", "(ts_epoch DESC, flow_id DESC)"}},
	},
	{
		version: 20260706000002,
		does:    "makes an index for pages of tasks",
		indices: []index{{
			"tasks_v3_idx_flow_run_step_ts_task_desc", "tasks_v3",
			"(flow_id, run_number, step_name, ts_epoch DESC, task_id DESC)",
		}},
	},
	{
		version: 20260706000003,
		does:    "makes an index for pages of metadata",
		indices: []index{{"metadata_v3_idx_flow_run_ts_id_desc", "metadata_v3", "(flow_id, run_number, ts_epoch DESC, id DESC)"}},
	},
}

// firstTables are the tables of version 1.
var firstTables = []string{
	`CREATE TABLE IF NOT EXISTS flows_v3 (
		flow_id     varchar(255) PRIMARY KEY,
		user_name   varchar(255),
		ts_epoch    bigint NOT NULL,
		tags        jsonb,
		system_tags jsonb
	)`,
	`CREATE TABLE IF NOT EXISTS runs_v3 (
		flow_id     varchar(255) NOT NULL REFERENCES flows_v3 (flow_id),
		run_number  serial NOT NULL,
		user_name   varchar(255),
		ts_epoch    bigint NOT NULL,
		tags        jsonb,
		system_tags jsonb,
		PRIMARY KEY (flow_id, run_number)
	)`,
	`CREATE TABLE IF NOT EXISTS steps_v3 (
		flow_id     varchar(255) NOT NULL,
		run_number  bigint NOT NULL,
		step_name   varchar(255) NOT NULL,
		user_name   varchar(255),
		ts_epoch    bigint NOT NULL,
		tags        jsonb,
		system_tags jsonb,
		PRIMARY KEY (flow_id, run_number, step_name),
		FOREIGN KEY (flow_id, run_number) REFERENCES runs_v3 (flow_id, run_number)
	)`,
	`CREATE TABLE IF NOT EXISTS tasks_v3 (
		flow_id     varchar(255) NOT NULL,
		run_number  bigint NOT NULL,
		step_name   varchar(255) NOT NULL,
		task_id     bigserial PRIMARY KEY,
		user_name   varchar(255),
		ts_epoch    bigint NOT NULL,
		tags        jsonb,
		system_tags jsonb,
		FOREIGN KEY (flow_id, run_number, step_name) REFERENCES steps_v3 (flow_id, run_number, step_name)
	)`,
	`CREATE TABLE IF NOT EXISTS metadata_v3 (
		flow_id     varchar(255),
		run_number  bigint NOT NULL,
		step_name   varchar(255) NOT NULL,
		task_id     bigint NOT NULL,
		id          bigserial NOT NULL,
		field_name  varchar(255) NOT NULL,
		value       text NOT NULL,
		type        varchar(255) NOT NULL,
		user_name   varchar(255),
		ts_epoch    bigint NOT NULL,
		tags        jsonb,
		system_tags jsonb,
		PRIMARY KEY (flow_id, run_number, step_name, task_id, field_name)
	)`,
	`CREATE TABLE IF NOT EXISTS artifact_v3 (
		flow_id      varchar(255) NOT NULL,
		run_number   bigint NOT NULL,
		step_name    varchar(255) NOT NULL,
		task_id      bigint NOT NULL,
		name         varchar(255) NOT NULL,
		location     varchar(255) NOT NULL,
		ds_type      varchar(255) NOT NULL,
		sha          varchar(255),
		type         varchar(255),
		content_type varchar(255),
		user_name    varchar(255),
		attempt_id   smallint NOT NULL,
		ts_epoch     bigint NOT NULL,
		tags         jsonb,
		system_tags  jsonb,
		PRIMARY KEY (flow_id, run_number, step_name, task_id, attempt_id, name)
	)`,
}

// ownMigration makes ownTables.
var ownMigration = tables.Migration{
	Version: "mf1",
	Does:    `makes the schema "mf" beside Metaflow's tables: how mf's runs ended, and access tokens`,
}

// ownTables are what mf alone knows. Nothing refers to Metaflow's tables: rows there are deleted as if these did not exist.
var ownTables = []string{
	`CREATE SCHEMA IF NOT EXISTS mf`,
	`CREATE TABLE mf.schema (
		version integer PRIMARY KEY,
		applied timestamptz NOT NULL DEFAULT now()
	)`,
	`CREATE TABLE mf.runs (
		flow_id    varchar(255) NOT NULL,
		run_number integer NOT NULL,
		status     text NOT NULL,
		finished   bigint NOT NULL,
		origin     text NOT NULL,
		failure    text NOT NULL,
		PRIMARY KEY (flow_id, run_number)
	)`,
	`CREATE TABLE mf.tokens (
		id       text PRIMARY KEY,
		name     text NOT NULL,
		role     text NOT NULL,
		flows    text[] NOT NULL,
		projects text[] NOT NULL,
		created  timestamptz NOT NULL,
		expires  timestamptz,
		revoked  timestamptz,
		hash     bytea NOT NULL
	)`,
	`INSERT INTO mf.schema (version) VALUES (1)`,
}
