-- A database to read from, and what each mode needs in it. The server runs with wal_level = logical.
CREATE TABLE orders (
    id         bigint PRIMARY KEY,
    customer   text NOT NULL,
    total      numeric(12,2) NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON orders (updated_at); -- for Standard
INSERT INTO orders (id, customer, total) SELECT n, 'customer ' || n % 10, n * 1.25 FROM generate_series(1, 1000) AS n;

CREATE ROLE airbyte LOGIN REPLICATION PASSWORD 'secret'; -- REPLICATION only for CDC
GRANT USAGE ON SCHEMA public TO airbyte;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO airbyte;

CREATE PUBLICATION airbyte_publication FOR TABLE orders; -- for CDC, as the next
SELECT pg_create_logical_replication_slot('airbyte_slot', 'pgoutput');
