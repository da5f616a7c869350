"""From claims to a user: keys, records and the rule who may enter; all of it pure."""
