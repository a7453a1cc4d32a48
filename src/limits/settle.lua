-- The end of a counted try. KEYS: the account, the address. ARGV[1]: 1 when it succeeded, 0 when it was no try.
local function release(key)
    if redis.call('EXISTS', key) == 1 and redis.call('HINCRBY', key, 'tries', -1) <= 0 then
        redis.call('DEL', key)
    end
end

if ARGV[1] == '1' then redis.call('DEL', KEYS[1]) else release(KEYS[1]) end
release(KEYS[2])
return 0
