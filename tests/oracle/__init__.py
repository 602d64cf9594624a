"""The plain replay: every event of every symbol, one after another, with objects and dicts.

It is written from the rules alone and shares no code with the compiled replay, so that two independent readings of the
same text can be compared record by record.  It is meant to be read, not to be fast.
"""
