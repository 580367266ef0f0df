-- Times are seconds since 1970 in UTC. Checksums: mindface.gallery.rows.checksum.
CREATE TABLE meta (
    key TEXT PRIMARY KEY, -- contract, size, created, checksum; erasing: a forgetting not finished
    value TEXT NOT NULL
);

CREATE TABLE people (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    tags TEXT NOT NULL, -- JSON, an array of strings in order
    valid_from REAL,
    valid_until REAL,
    created REAL NOT NULL,
    merged_into INTEGER REFERENCES people (id) DEFERRABLE INITIALLY DEFERRED, -- then this name is an alias
    changed INTEGER NOT NULL, -- the journal's entry after which the template was another
    checksum INTEGER NOT NULL
);
CREATE INDEX people_changed ON people (changed);
CREATE INDEX people_merged ON people (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX people_until ON people (valid_until) WHERE valid_until IS NOT NULL;

CREATE TABLE faces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person INTEGER NOT NULL REFERENCES people (id) DEFERRABLE INITIALLY DEFERRED,
    embedding BLOB NOT NULL, -- float32, little-endian, unit length
    quality REAL NOT NULL, -- its weight in the template
    path BLOB, -- UTF-8, other bytes of a file name as they are
    content TEXT NOT NULL, -- what names this face of this photo
    box BLOB, -- 4 float32: x1 y1 x2 y2
    landmarks BLOB, -- 5 x 2 float32
    created REAL NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX faces_person ON faces (person);
CREATE INDEX faces_content ON faces (content);

CREATE TABLE crops (
    face INTEGER PRIMARY KEY REFERENCES faces (id) ON DELETE CASCADE,
    jpeg BLOB NOT NULL,
    checksum INTEGER NOT NULL
);

CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    operation BLOB NOT NULL UNIQUE, -- sha256 of the operation's id
    request BLOB NOT NULL, -- sha256 of that id and what was asked for
    kind TEXT NOT NULL,
    person INTEGER,
    other INTEGER,
    content TEXT, -- the face that a rejection or confirmation speaks of
    payload TEXT NOT NULL, -- JSON
    undone_by INTEGER,
    created REAL NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX journal_content ON journal (content) WHERE content IS NOT NULL;
CREATE INDEX journal_person ON journal (person);
CREATE INDEX journal_other ON journal (other) WHERE other IS NOT NULL;

CREATE TABLE gone ( -- people who were removed, so that the matrix learns of it
    person INTEGER PRIMARY KEY,
    entry INTEGER NOT NULL
);
CREATE INDEX gone_entry ON gone (entry);
