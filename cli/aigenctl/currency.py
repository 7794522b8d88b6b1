"""Amounts in the currency that people read them in: dated rates out of the daemon's settings, applied to what is shown alone."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

import aigen

from aigenctl.figures import decimals, usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Currency:
    """One currency at the rate of one day; USD has the rate 1."""

    code: str = "USD"
    rate: Decimal = Decimal(1)  # units for one dollar
    day: str = ""  # from which the rate holds, YYYY-MM-DD

    def show(self, nanos: int | None) -> str:
        """Return an amount in dollars, and in the currency behind it.

        Example:
            >>> Currency(code="KRW", rate=Decimal("1390.5"), day="2026-11-01").show(2_000_000_000)
            '$2.00 (2,781.00 KRW)'
        """
        if self.code == "USD" or nanos is None:
            return usd(nanos)
        amount = Decimal(nanos).scaleb(-9) * self.rate
        shown = amount.quantize(Decimal(1).scaleb(-decimals(amount)), rounding=ROUND_HALF_UP)
        return f"{usd(nanos)} ({shown:,f} {self.code})"

    @property
    def note(self) -> str:
        """Where the rate comes from; empty for dollars."""
        return "" if self.code == "USD" else f"1 USD = {self.rate} {self.code}, the rate of {self.day}"


def chosen(settings: Iterable[aigen.Setting], at: datetime | None) -> Currency:
    """Return the settings' currency at the rate that holds at a time, or the earliest rate where none holds yet."""
    found = {setting.key: json.loads(setting.value_json) for setting in settings if setting.key.startswith("currency.")}
    code = found.get("currency.code", "USD")
    inside = {key.removeprefix("currency.rates."): rate for key, rate in found.items() if key.startswith("currency.rates.")}
    rates = found.get("currency.rates") or inside
    if code == "USD" or not rates:
        return Currency()
    days = sorted(rates)
    known = [day for day in days if at is None or date.fromisoformat(day) <= at.date()] or days[:1]
    return Currency(code=code, rate=Decimal(str(rates[known[-1]])), day=known[-1])
