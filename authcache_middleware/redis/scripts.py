"""What has to happen in one step on the server. Each script touches one key, so that a cluster runs it anywhere."""

from __future__ import annotations

from typing import Final

from authcache_middleware.tokens.verifier import MAX_LEEWAY, USUAL_MAX_LIFETIME
from authcache_middleware.users.session import SESSION_SIGN

__all__ = [
    "BEGIN_SESSION",
    "CLAIM",
    "COMPARE_AND_DELETE",
    "COMPARE_AND_SET",
    "LEAST_SESSION_MARK",
    "MAX_REVOKED_IDS",
    "REVOKE",
]

MAX_REVOKED_IDS: Final = 256
"""The most single tokens, and the most sessions, that are revoked of one user."""
_MARGIN: Final = int(2 * MAX_LEEWAY)
LEAST_SESSION_MARK: Final = int(USUAL_MAX_LIFETIME) + _MARGIN
"""The least seconds for which it is remembered that a session was ended."""

# The suffix is the server's time: a copy of this command that the network delivers late, after a DEL, must not bring
# back the lease that its sender holds, whose fill would then store what was read before the DEL.
CLAIM: Final = """\
local standing = redis.call('GET', KEYS[1])
if standing then return standing end
local time = redis.call('TIME')
local lease = ARGV[1] .. ':' .. time[1] .. '.' .. time[2]
redis.call('SET', KEYS[1], lease, 'PX', ARGV[2])
return lease"""

COMPARE_AND_SET: Final = """\
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
return 0"""

COMPARE_AND_DELETE: Final = """\
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0"""

# What is revoked of a user, and his sessions: one hash, read at the beginning and kept within its bounds at the end.
# Time is the server's, rounded up: a cutoff may refuse a login made within the leeway, it never passes an older token.
#
# A session ('s:') is not folded into a cutoff of now, since the user goes on in others. Past the most of them, those
# that were ended first are forgotten, and what was issued up to then is refused: their end is so long ago at least as
# the least time for which their marks live.
#
# A session that cannot be read counts as the oldest, with no end: it is nobody's to use, and the first to go.
_OPEN: Final = f"""\
local time = redis.call('TIME')
local now = tonumber(time[1])
local now_ms = now * 1000 + math.floor(tonumber(time[2]) / 1000)
if tonumber(time[2]) > 0 then now = now + 1 end
local before, revoked, sessions = nil, {{}}, {{}}
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local mark, value = held[i], held[i + 1]
  if mark == 'before' then
    before = tonumber(value)
  elseif mark:sub(1, 1) == '{SESSION_SIGN}' then
    local created, ends = value:match('^(%d+) (%d+) ')
    created, ends = tonumber(created or 0), ends and tonumber(ends) or math.huge
    if ends <= now then redis.call('HDEL', KEYS[1], mark)
    else sessions[mark:sub(2)] = {{created = created, ends = ends}} end
  else
    local till = tonumber(value)
    if till and till <= now then redis.call('HDEL', KEYS[1], mark)
    else revoked[mark] = till or now + {LEAST_SESSION_MARK} end
  end
end
local function revoke(mark, lifetime)
  if mark:sub(1, 2) == 's:' then lifetime = math.max(lifetime, {LEAST_SESSION_MARK}) end
  revoked[mark] = math.max(revoked[mark] or 0, now + lifetime)
  redis.call('HSET', KEYS[1], mark, string.format('%.0f', revoked[mark]))
  redis.call('HDEL', KEYS[1], '{SESSION_SIGN}' .. mark)
  sessions[mark] = nil
end
local function close(cutoff, lifetime, leeway)
  local tokens, ended = {{}}, {{}}
  for mark in pairs(revoked) do
    local kind = mark:sub(1, 2) == 's:' and ended or tokens
    kind[#kind + 1] = mark
  end
  if #tokens > {MAX_REVOKED_IDS} then
    cutoff = now + leeway
    for _, mark in ipairs(tokens) do redis.call('HDEL', KEYS[1], mark) end
  end
  if #ended > {MAX_REVOKED_IDS} then
    table.sort(ended, function(one, other) return revoked[one] < revoked[other] end)
    for i = 1, #ended - {MAX_REVOKED_IDS} do
      local last = revoked[ended[i]] - {LEAST_SESSION_MARK} + leeway
      cutoff = math.max(cutoff, math.min(last, now + leeway))
      redis.call('HDEL', KEYS[1], ended[i])
    end
  end
  if cutoff > (before or 0) then redis.call('HSET', KEYS[1], 'before', string.format('%.0f', cutoff)) end
  local longest = lifetime
  for mark, till in pairs(revoked) do longest = math.max(longest, till - now) end
  for mark, session in pairs(sessions) do
    if session.ends < math.huge then longest = math.max(longest, session.ends - now) end
  end
  if redis.call('TTL', KEYS[1]) < longest then redis.call('EXPIRE', KEYS[1], string.format('%.0f', longest)) end
end
"""

# ARGV: the mark to revoke or 'before', then lifetime and leeway in seconds. With a session ends the one of a token
# that is known by the same name, and with everything every session.
REVOKE: Final = f"""\
{_OPEN}
local mark, lifetime, leeway = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local cutoff = 0
if mark == 'before' then
  cutoff = now + leeway
  local all = {{}}
  for each in pairs(sessions) do all[#all + 1] = each end
  for _, each in ipairs(all) do revoke(each, lifetime) end
else
  revoke(mark, lifetime)
  local token = 't:' .. mark:sub(3)
  if mark:sub(1, 2) == 's:' and sessions[token] then revoke(token, lifetime) end
end
close(cutoff, lifetime, leeway)
return 1"""

# ARGV: the mark, when it ends, its details, the most sessions of a user, whether the oldest makes room, then lifetime
# and leeway of the marks of those that are ended; one that is a token ends with it. What was ended does not begin
# again, nor get shorter: a copy of this command may be delivered late.
BEGIN_SESSION: Final = f"""\
{_OPEN}
local mark, ends, details = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local most, lifetime, leeway = tonumber(ARGV[4]), tonumber(ARGV[6]), tonumber(ARGV[7])
if revoked[mark] then return {{'ended'}} end
if now <= (before or 0) then return {{'too_soon', before - now + 1}} end
local standing, ended = sessions[mark], {{}}
if standing and standing.ends < math.huge then
  standing.ends = math.max(standing.ends, ends)
else
  sessions[mark] = nil
  local others = {{}}
  for each in pairs(sessions) do others[#others + 1] = each end
  if #others >= most then
    if ARGV[5] ~= '1' then return {{'max_sessions'}} end
    table.sort(others, function(one, other)
      local first, second = sessions[one].created, sessions[other].created
      if first == second then return one < other end
      return first < second
    end)
    for i = 1, #others - most + 1 do
      local life = lifetime
      if others[i]:sub(1, 2) == 't:' then life = math.min(life, sessions[others[i]].ends - now + {_MARGIN}) end
      revoke(others[i], life)
      ended[i] = others[i]
    end
  end
  standing = {{created = now_ms, ends = ends}}
  sessions[mark] = standing
end
local times = string.format('%.0f %.0f ', standing.created, standing.ends)
redis.call('HSET', KEYS[1], '{SESSION_SIGN}' .. mark, times .. details)
close(0, 0, leeway)
return {{'begun', standing.created, standing.ends, ended}}"""
