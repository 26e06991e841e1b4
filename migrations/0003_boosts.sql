-- Promotions, written down by an operator: while one lasts, the forecast expects `factor` times as many lines of the
-- product, and `lines` more an hour (for what has never sold). Read by the forecast every 10 s; not published.
CREATE TABLE lockstep.boosts (
    product_id text NOT NULL,
    factor     double precision NOT NULL DEFAULT 1 CHECK (factor BETWEEN 0 AND 1000000),
    lines      double precision NOT NULL DEFAULT 0 CHECK (lines BETWEEN 0 AND 1000000),
    begins_at  timestamptz NOT NULL DEFAULT now(),
    ends_at    timestamptz NOT NULL CHECK (ends_at > begins_at),
    PRIMARY KEY (product_id, begins_at)
);
