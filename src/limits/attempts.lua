-- Counts one try for every key, or for none. Answers how many milliseconds to wait; 0 means: counted.
-- KEYS: the subjects. ARGV: the window in milliseconds, then for each key where delays and where the lock begin.
-- The time is the server's own, so that replicas need not agree on theirs.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window = tonumber(ARGV[1])

local function pause(tries, delay_at, lock_at)
    if tries < delay_at then return 0 end
    if tries >= lock_at then return window end
    return math.min(1000 * 2 ^ (tries - delay_at), window)
end

local function bounds(index)
    return tonumber(ARGV[2 * index]), tonumber(ARGV[2 * index + 1])
end

local wait = 0
for index, key in ipairs(KEYS) do
    local held = redis.call('HMGET', key, 'tries', 'last')
    if held[1] and held[2] then
        wait = math.max(wait, tonumber(held[2]) + pause(tonumber(held[1]), bounds(index)) - now)
    end
end
if wait > 0 then return wait end

for index, key in ipairs(KEYS) do
    local tries = redis.call('HINCRBY', key, 'tries', 1)
    redis.call('HSET', key, 'last', now)
    local _, lock_at = bounds(index)
    if tries == 1 or tries >= lock_at then redis.call('PEXPIRE', key, window) end
end
return 0
