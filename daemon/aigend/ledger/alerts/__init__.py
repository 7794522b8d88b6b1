"""Alerts of budgets: how they are kept, handed out and sent."""
