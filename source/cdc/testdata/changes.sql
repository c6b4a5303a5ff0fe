-- What changes.log records. Each paragraph is one transaction, unless it says otherwise itself.

CREATE TABLE keyed (id int PRIMARY KEY, v text, n numeric(10,2), at timestamptz, j jsonb, a int[]);
CREATE TABLE whole (id int PRIMARY KEY, v text, big text);
ALTER TABLE whole REPLICA IDENTITY FULL, ALTER big SET STORAGE EXTERNAL;
CREATE TABLE unseen ("Ä ""x""" int, k text NOT NULL UNIQUE, big text);
ALTER TABLE unseen REPLICA IDENTITY USING INDEX unseen_k_key, ALTER big SET STORAGE EXTERNAL;
CREATE TABLE empty ();
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE PUBLICATION pub FOR ALL TABLES;

INSERT INTO keyed VALUES (1, 'a"\', 1.10, '2024-02-29 13:00:01.5+02', '{"k": [1, null]}', '{1,NULL,3}');
INSERT INTO keyed VALUES (2);

UPDATE keyed SET v = 'b' WHERE id = 1;
UPDATE keyed SET id = 3, n = 'NaN' WHERE id = 2;
DELETE FROM keyed WHERE id = 1;

INSERT INTO whole VALUES (1, 'a', repeat('x', 3000)), (2, NULL, NULL);
UPDATE whole SET v = 'b';
UPDATE whole SET id = 10 WHERE id = 1;
DELETE FROM whole;

INSERT INTO unseen VALUES (1, 'k', repeat('x', 3000));
UPDATE unseen SET "Ä ""x""" = 2;
UPDATE unseen SET k = 'l';
DELETE FROM unseen;

INSERT INTO empty DEFAULT VALUES;

BEGIN; INSERT INTO keyed VALUES (4); SAVEPOINT s; INSERT INTO keyed VALUES (5); ROLLBACK TO s; COMMIT;

ALTER TABLE keyed ADD added mood, DROP COLUMN j, ALTER v TYPE varchar(9);
INSERT INTO keyed VALUES (6, 'c', 2, 'infinity', '{}', 'ok');

TRUNCATE keyed, whole RESTART IDENTITY CASCADE;

SELECT pg_logical_emit_message(true, 'prefix', 'in a transaction'), pg_logical_emit_message(false, 'prefix', 'at once');

SELECT pg_replication_origin_create('elsewhere');

SELECT pg_replication_origin_session_setup('elsewhere');

BEGIN; SELECT pg_replication_origin_xact_setup('0/123', '2020-01-01'); INSERT INTO keyed VALUES (7); COMMIT;

SELECT pg_replication_origin_session_reset();
