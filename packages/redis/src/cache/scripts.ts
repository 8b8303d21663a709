/**
 * KEYS: hash of the key, set of the URL, chunks to be deleted. ARGV: id, value, milliseconds to live, most variants, name for the set or '', '1' when
 * it must be there already, ids that are replaced. Gives 1, or 0 when it was not there.
 */
export const PUT = `
if ARGV[6] == '1' and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 7, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local ttl = tonumber(ARGV[3])
if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end
if ARGV[5] ~= '' then
  redis.call('SADD', KEYS[2], ARGV[5])
  if redis.call('PTTL', KEYS[2]) < ttl then redis.call('PEXPIRE', KEYS[2], ttl) end
end
local over = redis.call('HLEN', KEYS[1]) - tonumber(ARGV[4])
if over > 0 then
  local ids = redis.call('HKEYS', KEYS[1])
  table.sort(ids)
  for i = 1, over do redis.call('HDEL', KEYS[1], ids[i]) end
end
return 1`

/** KEYS: a mark. ARGV: milliseconds for which it stays at least. */
export const MARK = `
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return 1`

/** KEYS: the claim, hash of the key. ARGV: token, milliseconds. Gives the responses of the key when it was taken, else its holder's token, '-' for unshared. */
export const CLAIM = `
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return redis.call('HVALS', KEYS[2]) end
return redis.call('GET', KEYS[1]) or ''`

/** KEYS: the claim. ARGV: token, milliseconds to hold it longer. */
export const HOLD = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0`

/** KEYS: the claim. ARGV: token, milliseconds for which nobody need wait for this one; 0: it is free. */
export const RELEASE = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], '-', 'PX', ARGV[2])
return 1`

/**
 * A member says that it is there and up to where it has read. KEYS: log, set of members, the member. ARGV: its name, last id that it has read,
 * milliseconds. Gives: '1' when it was a member all the time ('0': purges may not have waited for it; '-': the log is not the one that it has
 * read, so it must begin anew), the log's last id, and all members. Writes nothing that a full Redis refuses, unless it has to.
 */
export const BEAT = `
if ARGV[2] ~= '' and #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) == 0 then return {'-', '', {}} end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local known = redis.call('GET', KEYS[3])
if known == ARGV[2] then redis.call('PEXPIRE', KEYS[3], ARGV[3])
else redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3]) end
if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 0 then redis.call('SADD', KEYS[2], ARGV[1]) end
return {known and '1' or '0', last[1] and last[1][1] or '', redis.call('SMEMBERS', KEYS[2])}`

/**
 * Begins a log where there is none. KEYS: log, set of members, then members that were there before Redis lost all that. ARGV: first record,
 * milliseconds, names of those members: whoever purges waits for them as before. Gives the first id.
 */
export const OPEN = `
for i = 3, #KEYS do
  redis.call('SADD', KEYS[2], ARGV[i])
  redis.call('SET', KEYS[i], '0-0', 'NX', 'PX', ARGV[2])
end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if #first == 0 then return redis.call('XADD', KEYS[1], '*', 'p', ARGV[1]) end
return first[1][1]`

/** A member leaves. KEYS: set of members, the member. ARGV: its name. */
export const LEAVE = `
redis.call('DEL', KEYS[2])
return redis.call('SREM', KEYS[1], ARGV[1])`
