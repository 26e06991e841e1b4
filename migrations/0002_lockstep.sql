-- What Lockstep keeps in the database, and what it is given.

CREATE SCHEMA lockstep;

-- One row an epoch: one unbroken history of the source. The newest row is the current epoch; it outlives the loss of
-- every Kafka topic.
CREATE TABLE lockstep.epoch (
    epoch             integer PRIMARY KEY CHECK (epoch BETWEEN 1 AND 65534),
    system_identifier text NOT NULL,
    timeline          text NOT NULL CHECK (timeline ~ '^[0-9A-F]{8}$'),
    slot              text NOT NULL,
    reason            text NOT NULL,
    began_at          timestamptz NOT NULL DEFAULT now()
);

-- Explicit tables and columns: what is not listed never leaves the database (e-mail addresses among it).
CREATE PUBLICATION lockstep FOR TABLE
    products, prices, inventory,
    users (user_id, name, created_at), preferences, carts, cart_lines,
    orders (order_id, user_id, placed_at), order_lines
    WITH (publish_via_partition_root = true);
