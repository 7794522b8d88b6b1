"""What calls cost: reservations, charges, budgets, prices, and sums over them.

No provider's wire format, no protobuf and no routing: a call comes here as an intent with an upper bound and goes as a settlement.
"""
