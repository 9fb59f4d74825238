-- version 0016
CREATE TABLE alembic_version ( version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num) )

CREATE TABLE dead_letters ( seq BIGINT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (seq) )

CREATE TABLE events ( seq INTEGER NOT NULL, event_id VARCHAR(128) NOT NULL, at BIGINT NOT NULL, received_at BIGINT NOT NULL, late BOOLEAN NOT NULL, event_type VARCHAR(32) NOT NULL, severity VARCHAR(8) NOT NULL, user_id VARCHAR(256), ip_address VARCHAR(45), success BOOLEAN, origin VARCHAR(64) NOT NULL, max_severity VARCHAR(8) NOT NULL, may_act BOOLEAN NOT NULL, effects BOOLEAN NOT NULL, body BLOB NOT NULL, PRIMARY KEY (seq), UNIQUE (event_id) )

CREATE INDEX events_at ON events (at)

CREATE INDEX events_success ON events (ip_address, at, user_id) WHERE success = 1

CREATE TABLE incidents ( id VARCHAR(32) NOT NULL, subject TEXT NOT NULL, subject_type VARCHAR(16) NOT NULL, severity VARCHAR(8) NOT NULL, confidence FLOAT NOT NULL, status VARCHAR(16) NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, threat_types JSON NOT NULL, assignee VARCHAR(256), size INTEGER DEFAULT '0' NOT NULL, PRIMARY KEY (id) )

CREATE INDEX incidents_last ON incidents (last)

CREATE INDEX incidents_subject ON incidents (subject, subject_type, first)

CREATE TABLE positions ( name VARCHAR(32) NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (name) )

CREATE TABLE security_actions ( id VARCHAR(36) NOT NULL, decision_key VARCHAR(64) NOT NULL, action_type VARCHAR(32) NOT NULL, target TEXT NOT NULL, reason TEXT NOT NULL, evidence JSON NOT NULL, severity VARCHAR(8) NOT NULL, status VARCHAR(8) NOT NULL, created_at BIGINT NOT NULL, expiration BIGINT, revoked_at BIGINT, revoked_by VARCHAR(256), auto_created BOOLEAN NOT NULL, created_by VARCHAR(256) NOT NULL, rule VARCHAR(256), signal_id VARCHAR(32), incident_id VARCHAR(32), decided_at BIGINT, effective BOOLEAN NOT NULL, change_seq BIGINT NOT NULL, created_by_user_id VARCHAR(256) GENERATED ALWAYS AS (CASE WHEN auto_created THEN NULL ELSE created_by END) VIRTUAL, created_by_session_id VARCHAR(256) GENERATED ALWAYS AS (NULL) VIRTUAL, execution_details JSON GENERATED ALWAYS AS (json_object('effective', json(iif(effective, 'true', 'false')), 'rule', rule, 'signal_id', signal_id, 'incident_id', incident_id, 'decided_at', decided_at, 'revoked_by', revoked_by)) VIRTUAL, success BOOLEAN GENERATED ALWAYS AS (status != 'failed') VIRTUAL, error_message TEXT GENERATED ALWAYS AS (CASE WHEN status = 'failed' THEN reason END) VIRTUAL, PRIMARY KEY (id), UNIQUE (decision_key) )

CREATE INDEX actions_change ON security_actions (change_seq)

CREATE INDEX actions_status ON security_actions (status, expiration)

CREATE INDEX actions_target ON security_actions (target, action_type)

CREATE TABLE signals ( id VARCHAR(32) NOT NULL, rule VARCHAR(256) NOT NULL, rule_hash VARCHAR(64) NOT NULL, title TEXT NOT NULL, subject TEXT NOT NULL, subject_type VARCHAR(16) NOT NULL, "group" JSON NOT NULL, severity VARCHAR(8) NOT NULL, threat_type VARCHAR(32), confidence FLOAT NOT NULL, bucket BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, count BIGINT NOT NULL, may_act BOOLEAN NOT NULL, incident_id VARCHAR(32), PRIMARY KEY (id) )

CREATE INDEX signals_last ON signals (last)

CREATE INDEX signals_subject ON signals (subject, subject_type, first)

CREATE TABLE tokens ( id VARCHAR(36) NOT NULL, name VARCHAR(256) NOT NULL, role VARCHAR(16) NOT NULL, hash BLOB NOT NULL, max_severity VARCHAR(8) NOT NULL, may_cause_actions BOOLEAN NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT, source_cidr VARCHAR(64), revoked_at BIGINT, PRIMARY KEY (id), UNIQUE (hash) )

CREATE TABLE audit_trail ( seq INTEGER NOT NULL, at BIGINT NOT NULL, actor VARCHAR(256) NOT NULL, operation VARCHAR(64) NOT NULL, target TEXT NOT NULL, details TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (seq) )

CREATE INDEX actions_rule_created ON security_actions (rule, created_at)

CREATE INDEX actions_rule_decided ON security_actions (rule, decided_at)

CREATE TABLE feedback ( kind VARCHAR(16) NOT NULL, about VARCHAR(128) NOT NULL, verdict VARCHAR(16) NOT NULL, reason TEXT NOT NULL, at BIGINT NOT NULL, "by" VARCHAR(256) NOT NULL, PRIMARY KEY (kind, about) )

CREATE INDEX feedback_at ON feedback (at)

CREATE TABLE suppressions ( rule VARCHAR(256) NOT NULL, subject TEXT NOT NULL, subject_type VARCHAR(16) NOT NULL, until BIGINT NOT NULL, reason TEXT NOT NULL, at BIGINT NOT NULL, "by" VARCHAR(256) NOT NULL, PRIMARY KEY (rule, subject, subject_type) )

CREATE TABLE baselines ( entity_type VARCHAR(16) NOT NULL, entity TEXT NOT NULL, day INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (entity_type, entity) )

CREATE INDEX baselines_day ON baselines (day, entity_type, entity)

CREATE INDEX events_anomalies ON events (at) WHERE event_type = 'anomaly'

CREATE TABLE audit_log ( seq INTEGER NOT NULL, id VARCHAR(36) NOT NULL, table_name TEXT, operation TEXT NOT NULL, user_id VARCHAR(256), session_id VARCHAR(256), row_id TEXT, old_values JSON, new_values JSON, changed_fields JSON, ip_address VARCHAR(45), user_agent TEXT, application_name VARCHAR(256), security_context JSON, created_at BIGINT NOT NULL, PRIMARY KEY (seq) )

CREATE INDEX audit_log_created ON audit_log (created_at)

CREATE TABLE security_violations ( seq INTEGER NOT NULL, id VARCHAR(36) NOT NULL, violation_type TEXT NOT NULL, severity VARCHAR(8) NOT NULL, user_id VARCHAR(256), session_id VARCHAR(256), table_name TEXT, attempted_operation TEXT, violation_details JSON NOT NULL, ip_address VARCHAR(45), user_agent TEXT, blocked BOOLEAN NOT NULL, resolved BOOLEAN NOT NULL, resolution_notes TEXT, created_at BIGINT NOT NULL, resolved_at BIGINT, resolved_by VARCHAR(256), PRIMARY KEY (seq), UNIQUE (id) )

CREATE INDEX security_violations_created ON security_violations (created_at, severity, resolved)

CREATE TABLE data_access_log ( seq INTEGER NOT NULL, id VARCHAR(36) NOT NULL, user_id VARCHAR(256), service_name VARCHAR(256), access_type TEXT, table_name TEXT, row_count BIGINT, sensitive_data_accessed BOOLEAN NOT NULL, access_pattern TEXT, session_id VARCHAR(256), ip_address VARCHAR(45), response_time_ms FLOAT, created_at BIGINT NOT NULL, PRIMARY KEY (seq) )

CREATE INDEX data_access_log_created ON data_access_log (created_at, sensitive_data_accessed, user_id)

CREATE TABLE links ( of_type VARCHAR(16) NOT NULL, "of" TEXT NOT NULL, hour INTEGER NOT NULL, to_type VARCHAR(16) NOT NULL, "to" TEXT NOT NULL, PRIMARY KEY (of_type, "of", hour, to_type, "to") )

CREATE TABLE incident_notes ( id INTEGER NOT NULL, incident_id VARCHAR(32) NOT NULL, at BIGINT NOT NULL, "by" VARCHAR(256) NOT NULL, what VARCHAR(16) NOT NULL, note TEXT NOT NULL, PRIMARY KEY (id) )

CREATE INDEX notes_incident ON incident_notes (incident_id, at)

CREATE TABLE evidence ( action_id VARCHAR(36) NOT NULL, bundle BLOB NOT NULL, sha256 VARCHAR(64) NOT NULL, PRIMARY KEY (action_id) )

CREATE TABLE evidence_events ( action_id VARCHAR(36) NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (action_id, seq) )

CREATE INDEX evidence_events_seq ON evidence_events (seq)

CREATE INDEX signals_incident ON signals (incident_id)

CREATE INDEX actions_incident ON security_actions (incident_id)

CREATE TABLE nodes ( id VARCHAR(32) NOT NULL, name VARCHAR(256) NOT NULL, started_at BIGINT NOT NULL, seen_at BIGINT NOT NULL, commits BIGINT NOT NULL, lease BIGINT NOT NULL, settled BOOLEAN NOT NULL, PRIMARY KEY (id) )

CREATE INDEX actions_created ON security_actions (created_at)

CREATE INDEX audit_sealed ON audit_trail (target) WHERE operation = 'threat_quarantine.evidence'

CREATE INDEX links_hour ON links (hour)

CREATE TABLE chosen ( kind VARCHAR(16) NOT NULL, name VARCHAR(256) NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, name) )

INSERT INTO alembic_version VALUES ('0016')

INSERT INTO positions VALUES ('baselines', 0)
