-- wrk's side of load.mjs: what to send comes by environment, the result goes out as one line of JSON.
local method, path = os.getenv("LOAD_METHOD"), os.getenv("LOAD_PATH")
local distinct, size = tonumber(os.getenv("LOAD_DISTINCT")), tonumber(os.getenv("LOAD_BODY"))
local expected = tonumber(os.getenv("LOAD_EXPECTED"))
local seed = tonumber(os.getenv("LOAD_SEED"))
local wrong, n = 0, 0

function setup(thread)
  thread:set("id", 0)
  threads = threads or {}
  table.insert(threads, thread)
end

function init(args)
  for line in string.gmatch(os.getenv("LOAD_HEADERS") or "", "[^\n]+") do
    local name, value = string.match(line, "^(.-)\t(.*)$")
    wrk.headers[name] = value
  end
  wrk.method = method
  wrk.path = path
  if size > 0 then wrk.body = string.rep("x", size) end
  -- Only then: a request function costs, and a fixed request is prepared once.
  if distinct > 0 then
    math.randomseed(seed)
    request = function()
      n = seed > 0 and math.random(0, distinct - 1) or (n + 7919) % distinct
      return wrk.format(method, path .. n)
    end
  end
  -- A response function makes wrk parse every header, so statuses are only counted by wrk itself, unless asked for.
  if expected ~= 200 then
    response = function(status) if status ~= expected then wrong = wrong + 1 end end
  end
end

function done(summary, latency)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  if expected == 200 then failed = failed + summary.errors.status end
  for _, thread in ipairs(threads) do failed = failed + (thread:get("wrong") or 0) end
  io.write(string.format('RESULT {"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"bytes":%d,"errors":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.bytes, failed))
end
