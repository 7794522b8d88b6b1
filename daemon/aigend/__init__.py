"""The daemon of aigen: response cache, batch scheduler and usage ledger of one machine."""
