-- Times are seconds since 1970 in UTC. Checksums: mindface.gallery.rows.checksum. Text is compared
-- byte by byte. {size} is the size of an embedding.
CREATE TABLE meta (
    key TEXT PRIMARY KEY, -- contract, size, created, checksum; schema: the last migration's number
    value TEXT NOT NULL
);

CREATE TABLE numbers ( -- the highest id that a row of a table ever had
    relation TEXT PRIMARY KEY,
    last BIGINT NOT NULL
);
INSERT INTO numbers VALUES ('people', 0), ('faces', 0);

CREATE TABLE people (
    id BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    tags TEXT NOT NULL, -- JSON, an array of strings in order
    valid_from DOUBLE PRECISION,
    valid_until DOUBLE PRECISION,
    created DOUBLE PRECISION NOT NULL,
    merged_into BIGINT REFERENCES people (id) DEFERRABLE INITIALLY DEFERRED, -- then an alias
    changed BIGINT NOT NULL, -- the journal's entry after which the template was another
    checksum BIGINT NOT NULL
);
ALTER TABLE people ADD EXCLUDE USING hash (name WITH =); -- once each, of any length
CREATE INDEX people_changed ON people (changed);
CREATE INDEX people_merged ON people (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX people_until ON people (valid_until) WHERE valid_until IS NOT NULL;

CREATE TABLE faces (
    id BIGINT PRIMARY KEY,
    person BIGINT NOT NULL REFERENCES people (id) DEFERRABLE INITIALLY DEFERRED,
    embedding BYTEA NOT NULL, -- float32, little-endian, unit length
    quality DOUBLE PRECISION NOT NULL, -- its weight in the template
    path BYTEA, -- UTF-8, other bytes of a file name as they are
    content TEXT COLLATE "C" NOT NULL, -- what names this face of this photo
    box BYTEA, -- 4 float32: x1 y1 x2 y2
    landmarks BYTEA, -- 5 x 2 float32
    created DOUBLE PRECISION NOT NULL,
    checksum BIGINT NOT NULL
);
CREATE INDEX faces_person ON faces (person);
CREATE INDEX faces_content ON faces (content);

CREATE TABLE crops (
    face BIGINT PRIMARY KEY REFERENCES faces (id) ON DELETE CASCADE,
    jpeg BYTEA NOT NULL,
    checksum BIGINT NOT NULL
);

CREATE TABLE journal (
    id BIGINT PRIMARY KEY,
    operation BYTEA NOT NULL UNIQUE, -- sha256 of the operation's id
    request BYTEA NOT NULL, -- sha256 of that id and what was asked for
    kind TEXT NOT NULL,
    person BIGINT,
    other BIGINT,
    content TEXT COLLATE "C", -- the face that a rejection or confirmation speaks of
    payload TEXT NOT NULL, -- JSON
    undone_by BIGINT,
    created DOUBLE PRECISION NOT NULL,
    checksum BIGINT NOT NULL
);
CREATE INDEX journal_content ON journal (content) WHERE content IS NOT NULL;
CREATE INDEX journal_person ON journal (person);
CREATE INDEX journal_other ON journal (other) WHERE other IS NOT NULL;

CREATE TABLE gone ( -- people who were removed
    person BIGINT PRIMARY KEY,
    entry BIGINT NOT NULL
);

CREATE TABLE templates ( -- what is searched; made from the faces, and by the same transaction
    person BIGINT PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE,
    vector VECTOR({size}) NOT NULL,
    since DOUBLE PRECISION NOT NULL, -- -Infinity: always was valid
    until DOUBLE PRECISION NOT NULL,
    checksum BIGINT NOT NULL -- of person, since, until and the vector as float32, little-endian
);
ALTER TABLE templates ALTER COLUMN vector SET STORAGE {storage};

-- The planner's statistics would keep samples of what was forgotten.
ALTER TABLE people ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN tags SET STATISTICS 0;
ALTER TABLE faces ALTER COLUMN embedding SET STATISTICS 0, ALTER COLUMN path SET STATISTICS 0,
    ALTER COLUMN content SET STATISTICS 0, ALTER COLUMN box SET STATISTICS 0,
    ALTER COLUMN landmarks SET STATISTICS 0;
ALTER TABLE crops ALTER COLUMN jpeg SET STATISTICS 0;
ALTER TABLE journal ALTER COLUMN payload SET STATISTICS 0, ALTER COLUMN content SET STATISTICS 0,
    ALTER COLUMN operation SET STATISTICS 0, ALTER COLUMN request SET STATISTICS 0;
ALTER TABLE templates ALTER COLUMN vector SET STATISTICS 0;
