"""When a call goes ahead: equal questions share one flight, and limits bound what is under way."""
