"""Kinds of failure that workers report and the routing core tells apart: names of classes in nodes/errors.py."""

BAD_OUTPUT, BROKEN_STREAM, FULL, LATE = "BadOutput", "StreamClosed", "Overloaded", "BudgetExpired"
STATE_LOST, ITEM_GONE = "SequenceLost", "ItemGone"
