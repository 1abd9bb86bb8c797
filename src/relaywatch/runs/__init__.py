"""One run: permission, plan, engine, arrivals, judgement, result lines. Every caller uses it."""
