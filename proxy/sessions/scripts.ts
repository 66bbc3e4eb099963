/**
 * What changes a session in Redis, in Lua: each is one atomic step on the one key of a session, and may be sent again
 * when its answer was lost. Each writes before it says that there is nothing: a replica, which may not know yet, refuses.
 *
 * The key is a hash: `revision`, to be compared without reading the rest; `home`, the home's id; `record`, the session.
 */

/** ARGV: idle life in ms. → the record, or nil. */
export const FIND = `
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return false end
return redis.call('HGET', KEYS[1], 'record')`;

/** ARGV: revision, home, record, idle life in ms. → 1 created, or there already by this very call; 0 taken. */
export const CREATE = `
local there = redis.call('HGET', KEYS[1], 'revision')
if there then return there == ARGV[1] and 1 or 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'home', ARGV[2], 'record', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`;

/**
 * ARGV: revision to replace, new revision, home, record, idle life in ms, channel, message.
 * → '' stored, or stored before by this very call; another writer's record; nil when the session has ended.
 */
export const REPLACE = `
if redis.call('PEXPIRE', KEYS[1], ARGV[5]) == 0 then return false end
local there = redis.call('HGET', KEYS[1], 'revision')
if there == ARGV[2] then return '' end
if there ~= ARGV[1] then return redis.call('HGET', KEYS[1], 'record') end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'home', ARGV[3], 'record', ARGV[4])
redis.call('PUBLISH', ARGV[6], ARGV[7])
return ''`;

/** ARGV: channel, message. → the record, or nil when there was nothing to end. */
export const END = `
local record = redis.call('HGET', KEYS[1], 'record')
if redis.call('DEL', KEYS[1]) == 0 then return false end
redis.call('PUBLISH', ARGV[1], ARGV[2])
return record`;
