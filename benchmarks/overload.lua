-- Posts the JPEGs that the file $PICTURES lists at times of its own (an open loop): $RATE requests a
-- second come as a Poisson process, whatever became of those before, as long as a connection is free.
-- Writes a line for every answer to $ANSWERS: its status and, in milliseconds, its time.
local ffi = require("ffi")
ffi.cdef("typedef struct { long sec, nsec; } spec; int clock_gettime(int, spec*);")
local read = ffi.new("spec")

local function now() -- in seconds
  ffi.C.clock_gettime(1, read) -- CLOCK_MONOTONIC
  return tonumber(read.sec) + tonumber(read.nsec) / 1e9
end

local bodies, at, due, rate, answers = {}, 0, nil, tonumber(os.getenv("RATE")), nil

function init()
  for path in io.lines(os.getenv("PICTURES")) do
    local file = io.open(path, "rb")
    bodies[#bodies + 1] = file:read("*a")
    file:close()
  end
  math.randomseed(0)
  answers = io.open(os.getenv("ANSWERS"), "w")
end

function delay() -- until the next is due, in milliseconds
  local time = now()
  due = (due or time) - math.log(1 - math.random()) / rate
  return math.max(0, 1000 * (due - time))
end

function request()
  at = at % #bodies + 1
  local headers = { ["Content-Type"] = "image/jpeg", ["X-Request-Id"] = string.format("%.6f", now()) }
  return wrk.format("POST", nil, headers, bodies[at])
end

function response(status, headers)
  local sent = tonumber(headers["x-request-id"])
  answers:write(status, " ", sent and 1000 * (now() - sent) or -1, "\n")
end
