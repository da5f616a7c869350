"""What a queue does in one step on the server. Each script touches one key; Lua's replies look alike with every client.

``redis-py`` reads the replies of stream commands into other shapes from one protocol and one version to the next. What
a script returns it leaves alone.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ACKNOWLEDGE", "COUNT", "JOIN", "LEAVE", "OLDEST", "PUT", "TAKE"]

# ARGV: the most entries, then names and values. Nothing is trimmed to make room: what would go is not acknowledged.
PUT: Final = """\
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end
return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))"""

# ARGV: group, and after how many ms without a sign a consumer that holds nothing is forgotten.
JOIN: Final = """\
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err and not made.err:find('BUSYGROUP', 1, true) then return made end
for _, one in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local is = {}
  for i = 1, #one, 2 do is[one[i]] = one[i + 1] end
  if is.pending == 0 and is.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], is.name)
  end
end
return 1"""

# ARGV: group, consumer, how many, and after how many ms what another one holds is handed out again. That comes first:
# it is the oldest. Returned: the last id of the stream, and for each entry its id, how often it has been handed out
# with this time, and its fields.
TAKE: Final = """\
local most, taken = tonumber(ARGV[3]), {}
local held = redis.pcall('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[4], '-', '+', most)
if held.err then
  if held.err:find('NOGROUP', 1, true) then return false end
  return held
end
for _, one in ipairs(held) do
  local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[4], one[1])[1]
  if entry and entry[2] then taken[#taken + 1] = {one[1], one[4] + 1, entry[2]} end
end
if #taken < most then
  local read = redis.call(
    'XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', most - #taken, 'STREAMS', KEYS[1], '>')
  for _, entry in ipairs(read and read[1][2] or {}) do
    if entry[2] then taken[#taken + 1] = {entry[1], 1, entry[2]} end
  end
end
if #taken > 0 then return {'', taken} end
local is, last = redis.call('XINFO', 'STREAM', KEYS[1]), '0-0'
for i = 1, #is, 2 do
  if is[i] == 'last-generated-id' then last = is[i + 1] end
end
return {last, taken}"""

# ARGV: group, then ids. What is done with is deleted, so that the length is what is not.
ACKNOWLEDGE: Final = """\
local done = redis.pcall('XACK', KEYS[1], unpack(ARGV))
if type(done) == 'table' and done.err and not done.err:find('NOGROUP', 1, true) then return done end
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))"""

# ARGV: group, consumer. Whoever holds something stays on the list: it is still to be handed to others.
LEAVE: Final = """\
local held = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if held.err then
  if held.err:find('NOGROUP', 1, true) then return 0 end
  return held
end
if #held > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1"""

# ARGV: group. Returned: how many entries there are, and how many of them somebody holds.
COUNT: Final = """\
local held = redis.pcall('XPENDING', KEYS[1], ARGV[1])
if held.err then
  if not held.err:find('NOGROUP', 1, true) then return held end
  held = {0}
end
return {redis.call('XLEN', KEYS[1]), held[1]}"""

# ARGV: how many.
OLDEST: Final = "return redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])"
