-- For wrk: posts pictures in turn, as the guide's client does. PICTURES names a file of paths.
local bodies = {}
local boundary = "ilkbenchmark"
for path in io.lines(os.getenv("PICTURES")) do
  local file = assert(io.open(path, "rb"))
  bodies[#bodies + 1] = "--" .. boundary .. "\r\nContent-Disposition: form-data; name=\"image\"; " ..
    "filename=\"picture.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n" .. file:read("*a") ..
    "\r\n--" .. boundary .. "--\r\n"
  file:close()
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "multipart/form-data; boundary=" .. boundary
local turn = 0
function request()
  turn = turn % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[turn])
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %.3f %.3f\n", summary.requests, summary.duration,
    e.status + e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
