"""The tables of roll-ups: how they began, and how they came to hold their sums packed.

A slot is the number of quarters of an hour, hours, quarters of a day, days, seven or twenty-eight days since 1970, in UTC.
"""

from aigend.ledger.statistics.sums import MEASURES

_COLUMNS = """
    calls INTEGER NOT NULL, unknown_count INTEGER NOT NULL, failed_count INTEGER NOT NULL, released_count INTEGER NOT NULL,
    unpriced_count INTEGER NOT NULL, cost_nanos INTEGER NOT NULL, estimated_nanos INTEGER NOT NULL,
    unknown_nanos INTEGER NOT NULL, input INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL, output INTEGER NOT NULL, reasoning INTEGER NOT NULL, searches INTEGER NOT NULL,
    latency_us INTEGER NOT NULL, saved_cache_count INTEGER NOT NULL, saved_single_flight_count INTEGER NOT NULL,
    saved_prompt_cache_count INTEGER NOT NULL, saved_batch_count INTEGER NOT NULL, saved_routing_count INTEGER NOT NULL,
    saved_cache_nanos INTEGER NOT NULL, saved_single_flight_nanos INTEGER NOT NULL, saved_prompt_cache_nanos INTEGER NOT NULL,
    saved_batch_nanos INTEGER NOT NULL, saved_routing_nanos INTEGER NOT NULL,
    histogram BLOB NOT NULL                -- calls by bucket of latency, as `histogram` packs them
"""
_PACKED = """
    sums BLOB NOT NULL,                    -- as `sums` packs them
    histogram BLOB NOT NULL                -- calls by bucket of latency, as `histogram` packs them
"""
_OWNERS = {
    "rollup_quarter": "account_id",
    "rollup_day": "account_id",
    "rollup_key_hour": "key_id",
    "rollup_key_part": "key_id",
    "rollup_key_day": "key_id",
    "rollup_key_week": "key_id",
}


def _table(name: str, owner: str, columns: str) -> str:
    key = f"slot, {owner}" if name == "rollup_quarter" else f"{owner}, slot"
    begin = f"CREATE TABLE {name} (slot INTEGER NOT NULL, {owner} INTEGER NOT NULL"
    return f"{begin}, {columns}, PRIMARY KEY ({key})) STRICT, WITHOUT ROWID;"


def _pack(name: str, owner: str) -> str:
    return f"""
        ALTER TABLE {name} RENAME TO {name}_wide;
        {_table(name, owner, _PACKED)}
        INSERT INTO {name} SELECT slot, {owner}, packed_sums({", ".join(MEASURES)}), histogram FROM {name}_wide;
        DROP TABLE {name}_wide;
    """  # noqa: S608 - constants only


ROLLUPS = f"""
-- Whose calls are summed up: those of hits as before, and those that were paid, without a cause.
ALTER TABLE hit_key RENAME TO account;
CREATE TABLE rollup_key (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    service TEXT NOT NULL,
    phase TEXT NOT NULL,
    task TEXT NOT NULL,
    agent TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    UNIQUE (scope, service, phase, task, agent, provider, model, outcome)
) STRICT;
INSERT INTO rollup_key (scope, service, phase, task, agent, provider, model, outcome)
    SELECT DISTINCT scope, service, phase, task, agent, provider, model, outcome FROM account;
ALTER TABLE account ADD COLUMN key_id INTEGER NOT NULL DEFAULT 0;
UPDATE account SET key_id = (
    SELECT k.id FROM rollup_key k WHERE (k.scope, k.service, k.phase, k.task, k.agent, k.provider, k.model, k.outcome)
        = (account.scope, account.service, account.phase, account.task, account.agent, account.provider, account.model,
            account.outcome)
);
{"".join(_table(name, owner, _COLUMNS) for name, owner in _OWNERS.items())}
INSERT INTO meta VALUES ('folded_quarter', -1);  -- before it, quarters are folded into hours and more; negative: build all anew
"""  # noqa: S608 - constants only

# A row is read in one step instead of one for each of its sums; 28 days are a level of their own.
PACKED_ROLLUPS = f"""
{"".join(_pack(name, owner) for name, owner in _OWNERS.items())}
{_table("rollup_key_month", "key_id", _PACKED)}
INSERT INTO rollup_key_month
    SELECT slot / 4, key_id, sums_total(sums), histogram_total(histogram) FROM rollup_key_week GROUP BY key_id, slot / 4;
"""  # noqa: S608 - constants only
