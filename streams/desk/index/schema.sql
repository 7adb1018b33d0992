-- The desk's index: what the topics say, as people ask for it. All of it is made from the topics alone.

-- Up to where each partition was taken in, written together with what came of it.
CREATE TABLE position (
    topic TEXT, partition INTEGER, incarnation TEXT NOT NULL, next INTEGER NOT NULL, mark TEXT NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
-- How many records of a topic were none that can be read, and how many could not be taken in; which the newest of the
-- latter are, by their places alone.
CREATE TABLE skipped (
    topic TEXT PRIMARY KEY, records INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE stepped (
    topic TEXT, partition INTEGER, "offset" INTEGER, sent REAL NOT NULL, bytes INTEGER NOT NULL, why TEXT NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
) WITHOUT ROWID;

-- A case by its newest alert; `said` is the place of the newest one that is no closing.
CREATE TABLE cases (
    id TEXT PRIMARY KEY, pattern TEXT NOT NULL, title TEXT NOT NULL, severity TEXT NOT NULL, account TEXT NOT NULL,
    accounts INTEGER NOT NULL, requests INTEGER NOT NULL, log_e REAL NOT NULL, opened REAL NOT NULL,
    updated REAL NOT NULL, sequence INTEGER NOT NULL, sent REAL NOT NULL, ended INTEGER NOT NULL,
    headline TEXT NOT NULL, said INTEGER NOT NULL,
    -- What people decided, and what follows.
    closed INTEGER NOT NULL DEFAULT 0, verdict TEXT NOT NULL DEFAULT '', assignee TEXT NOT NULL DEFAULT '',
    snoozed REAL NOT NULL DEFAULT 0, merged TEXT NOT NULL DEFAULT '', decisions INTEGER NOT NULL DEFAULT 0,
    touched REAL NOT NULL DEFAULT 0, belongs TEXT NOT NULL DEFAULT '', rank REAL NOT NULL DEFAULT 0
);
CREATE INDEX cases_rank ON cases (closed, rank DESC, id);
CREATE INDEX cases_age ON cases (closed, opened, id);
CREATE INDEX cases_changed ON cases (closed, touched DESC, id);
-- Counts every filter of a list without reading a case.
CREATE INDEX cases_count ON cases (closed, snoozed, pattern, severity, assignee, verdict, opened, updated);
CREATE INDEX cases_belongs ON cases (belongs);
CREATE INDEX cases_merged ON cases (merged) WHERE merged != '';
CREATE INDEX cases_updated ON cases (updated);

-- Apart, so that lists need not read it: that alert, deflated, and what verdicts repeat of it.
CREATE TABLE newest (id TEXT PRIMARY KEY, alert BLOB NOT NULL, facts BLOB);

-- Every alert of a case, in short.
CREATE TABLE told (
    id TEXT, sequence INTEGER, kind TEXT NOT NULL, time REAL NOT NULL, sent REAL NOT NULL, log_e REAL NOT NULL,
    requests INTEGER NOT NULL, PRIMARY KEY (id, sequence)
) WITHOUT ROWID;

-- Alerts that allow entries kept from being sent.
CREATE TABLE hidden (alert TEXT PRIMARY KEY, entry TEXT NOT NULL, time REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX hidden_entry ON hidden (entry, time);

-- Whom a case is about: `split` where somebody said that the account does not belong.
CREATE TABLE member (
    account TEXT, id TEXT, split INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (account, id)
) WITHOUT ROWID;
CREATE INDEX member_case ON member (id);

-- Records of people, as they stand on their topics but for what was erased.
CREATE TABLE verdict ("offset" INTEGER PRIMARY KEY, id TEXT NOT NULL, account TEXT NOT NULL, value BLOB NOT NULL);
CREATE INDEX verdict_case ON verdict (id);
CREATE INDEX verdict_account ON verdict (account);
CREATE TABLE desk (
    record TEXT PRIMARY KEY, id TEXT NOT NULL, time REAL NOT NULL, account TEXT NOT NULL, value BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX desk_case ON desk (id, time, record);
CREATE TABLE allow (id TEXT PRIMARY KEY, value BLOB NOT NULL, ended INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE erased (account TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;

-- Requests, in sums. `hash` is what telemetry's decoder makes of an account's name. Days and hours count from 1970, UTC;
-- they come first in keys, so that what is old goes in one piece and what is new lies together.
CREATE TABLE account (hash INTEGER PRIMARY KEY, name TEXT NOT NULL, day INTEGER NOT NULL);
CREATE INDEX account_name ON account (name);
CREATE TABLE hour (
    hour INTEGER, account INTEGER, requests INTEGER NOT NULL, refused INTEGER NOT NULL, input INTEGER NOT NULL,
    output INTEGER NOT NULL, PRIMARY KEY (hour, account)
) WITHOUT ROWID;
-- `contents` is a sketch of the distinct ones; the next three count requests by cohort; `shares` is what requests have
-- that others may have too, and how many have it: an array of `siphonwatch.streams.desk.index.traffic.ENTRY`.
CREATE TABLE day (
    day INTEGER, account INTEGER, first REAL NOT NULL, last REAL NOT NULL, conversation INTEGER NOT NULL,
    program INTEGER NOT NULL, rest INTEGER NOT NULL, contents BLOB NOT NULL, shares BLOB NOT NULL,
    PRIMARY KEY (day, account)
) WITHOUT ROWID;
-- Who has what: `kind` is a place in `siphonwatch.streams.desk.index.traffic.KINDS`.
CREATE TABLE share (
    day INTEGER, kind INTEGER, value INTEGER, account INTEGER, PRIMARY KEY (day, kind, value, account)
) WITHOUT ROWID;
CREATE TABLE label (hash INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE INDEX label_text ON label (text);

-- The newest features of each account, and account-hours of each day drawn by chance.
CREATE TABLE vector (
    account TEXT PRIMARY KEY, time REAL NOT NULL, layout TEXT NOT NULL, features BLOB NOT NULL, log_e BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE sample (
    day INTEGER, draw INTEGER, account TEXT NOT NULL, layout TEXT NOT NULL, features BLOB NOT NULL,
    PRIMARY KEY (day, draw)
) WITHOUT ROWID;
