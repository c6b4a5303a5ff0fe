-- A small billing database. Every value is computed from the row's number, so that each run loads the same rows.

CREATE SCHEMA billing;

CREATE TYPE billing.tier AS ENUM ('free', 'team', 'business', 'enterprise');

CREATE TABLE billing.plans (
    tier     billing.tier PRIMARY KEY,
    monthly  numeric(12,4) NOT NULL,
    trial    interval,
    seats    int4range NOT NULL,
    features text[] NOT NULL
);

INSERT INTO billing.plans VALUES
    ('free', 0, NULL, '[1,3)', '{}'),
    ('team', 29, '14 days', '[1,21)', '{export,"roles, groups"}'),
    ('business', 99.5, '1 mon', '[5,200)', '{export,"roles, groups",audit}'),
    ('enterprise', 1249.9999, '1 mon 15 days 06:30:00', '[50,)', '{export,"roles, groups",audit,"24/7 \"red\" phone"}');

CREATE TABLE billing.customers (
    customer_id uuid PRIMARY KEY,
    name        text NOT NULL,
    tags        text[],
    address     jsonb,
    tax_exempt  boolean,
    signed_up   timestamptz NOT NULL,
    signup_ip   inet,
    logo        bytea,
    born        date
);

INSERT INTO billing.customers
SELECT md5('customer ' || i)::uuid,
       CASE i WHEN 1 THEN 'Zoë "Zed" O''Brien 🎉'
              WHEN 2 THEN E'Tab\there, line\nbreak, back\\slash'
              ELSE 'Customer ' || i END,
       CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN ARRAY['vip', 'émigré'] WHEN 2 THEN ARRAY['new', NULL] ELSE '{}' END,
       CASE WHEN i % 5 > 0
            THEN jsonb_build_object('city', 'Köln', 'zip', 50000 + i, 'geo', jsonb_build_array(i % 90, 6.96)) END,
       CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN false ELSE true END,
       timestamptz '2021-01-01 08:00:00.000001+00' + i * interval '7 hours 13 minutes 1.25 seconds',
       CASE WHEN i % 6 > 0 THEN inet '10.0.0.0' + i ELSE inet '2001:db8::/48' + i END,
       CASE WHEN i % 2 = 1 THEN decode(md5('logo ' || i), 'hex') END,
       CASE WHEN i % 7 > 0 THEN date '1950-02-28' + i * 11 END
FROM generate_series(1, 2000) AS i;

CREATE TABLE billing.subscriptions (
    subscription_id bigint PRIMARY KEY,
    customer_id     uuid NOT NULL REFERENCES billing.customers,
    tier            billing.tier NOT NULL REFERENCES billing.plans,
    seats           int NOT NULL,
    discount        real,
    notice          interval,
    started         date NOT NULL,
    cancelled_at    timestamptz
);

INSERT INTO billing.subscriptions
SELECT 1000000000000 + i,
       md5('customer ' || 1 + i % 2000)::uuid,
       (enum_range(NULL::billing.tier))[1 + i % 4],
       1 + i % 50,
       CASE WHEN i % 4 = 0 THEN i % 30 / 100.0 END,
       CASE i % 3 WHEN 1 THEN interval '1 mon' WHEN 2 THEN interval '90 days 12:00:00' END,
       date '2021-01-31' + i % 1500,
       CASE WHEN i % 9 = 0 THEN timestamptz '2025-03-30 01:59:59.999999+01' + i * interval '1 minute' END
FROM generate_series(1, 3000) AS i;

CREATE TABLE billing.usage_events (
    event_id        bigint PRIMARY KEY,
    subscription_id bigint NOT NULL REFERENCES billing.subscriptions,
    happened_at     timestamptz NOT NULL,
    metric          text NOT NULL,
    quantity        double precision NOT NULL,
    amount          numeric(12,4),
    billable        boolean NOT NULL,
    origin          inet,
    details         jsonb
);

INSERT INTO billing.usage_events
SELECT i,
       1000000000001 + i * 7 % 3000,
       timestamptz '2025-01-01 00:00:00+00' + i * interval '97.000013 seconds',
       (ARRAY['api_call', 'storage_gb_hour', 'egress_gb', 'seat'])[1 + i % 4],
       i % 1000 / 7.0,
       CASE WHEN i % 11 > 0 THEN (i * 7919 % 10000019) / 10000.0 - 100 END,
       i % 10 > 0,
       inet '192.168.0.0' + i % 60000,
       CASE WHEN i % 3 > 0 THEN jsonb_build_object('region', 'eu-' || i % 4, 'ms', i % 250, 'cached', i % 2 = 0) END
FROM generate_series(1, 20000) AS i;

CREATE TABLE billing.invoices (
    invoice_id  uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES billing.customers,
    number      text NOT NULL UNIQUE,
    issued      date NOT NULL,
    total       numeric(12,4) NOT NULL,
    pages       int4range,
    reminders   timestamptz[],
    lines       jsonb NOT NULL,
    paid_at     timestamptz
);

INSERT INTO billing.invoices
SELECT md5('invoice ' || i)::uuid,
       md5('customer ' || 1 + i * 3 % 2000)::uuid,
       'INV-' || 2021 + i % 5 || '-' || lpad(i::text, 6, '0'),
       date '2021-01-01' + i % 1700,
       (i * 104729 % 99999989) / 10000.0,
       int4range(1, 2 + i % 4),
       CASE WHEN i % 8 = 0 THEN ARRAY[timestamptz '2025-02-01 09:00:00+00', '2025-03-01 09:00:00+00'] END,
       jsonb_build_array(jsonb_build_object('text', 'Seats', 'count', i % 50),
                         jsonb_build_object('text', 'Usage', 'count', i)),
       CASE WHEN i % 8 > 0 THEN timestamptz '2025-01-01 12:00:00+00' + i * interval '11 minutes' END
FROM generate_series(1, 6000) AS i;

CREATE VIEW billing.open_invoices AS
SELECT i.number, c.name AS customer, i.total, i.reminders
FROM billing.invoices AS i JOIN billing.customers AS c USING (customer_id)
WHERE i.paid_at IS NULL;

ANALYZE;
