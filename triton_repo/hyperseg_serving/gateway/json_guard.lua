-- Looks at a JSON body before the server does: release 24.10 parses by recursion, and 200 kB of brackets end it.
--
-- Bodies of the routes that are forwarded are an object of the model's inputs: texts, numbers and lists of them. A
-- caller's deadline is taken from a header, since HTTP has none of its own. INPUTS (a set of names, and id), MAX_DEPTH,
-- MAX_TEXTS, MAX_MS and STATUSES (identifier -> status) are written in front of this file.

local QUOTE, OPENING = 34, { [91] = true, [123] = true }
local SHOWN_BYTES = 200

-- Why a body may not pass, or nil. Brackets within texts do not count.
local function refusal(text)
  if not text:find("^%s*{") then return "no JSON object" end
  local depth, texts, at = 0, 0, text:find('["%[%]{}]')
  while at do
    local byte, start = text:byte(at), at
    if byte == QUOTE then
      texts = texts + 1
      if texts > MAX_TEXTS then return "more texts than any request has" end
      repeat
        at = text:find('["\\]', at + 1)
        local escaped = at and text:byte(at) ~= QUOTE
        if escaped then at = at + 1 end
      until not escaped
      if not at then return "a text without an end" end
      local is_name = depth == 1 and text:find("^%s*:", at + 1)
      if is_name and not INPUTS[text:sub(start + 1, at - 1)] then return "a name that is no input of the model" end
    else
      depth = depth + (OPENING[byte] and 1 or -1)
      if depth > MAX_DEPTH then return "a list or object too deep" end
    end
    at = text:find('["%[%]{}]', at + 1)
  end
end

local function respond(handle, status, text)
  handle:respond({ [":status"] = status, ["content-type"] = "application/json" }, '{"error":"' .. text .. '"}')
end

local function look(handle)
  if handle:headers():get(":method") ~= "POST" then return end
  local asked_ms = tonumber(handle:headers():get("x-timeout-ms") or "")
  if asked_ms and asked_ms >= 1 and asked_ms < MAX_MS then
    handle:headers():replace("x-envoy-upstream-rq-timeout-ms", string.format("%d", asked_ms))
  end
  local body = handle:body()
  return refusal(body and body:getBytes(0, body:length()) or "")
end

-- An error in a script lets the request pass: it is caught here.
function envoy_on_request(handle)
  local looked, why = pcall(look, handle)
  if not looked then
    respond(handle, "500", "E_INTERNAL: the gateway could not read the body")
  elseif why then
    respond(handle, "400", "E_REQUEST: in the body there is " .. why)
  end
end

-- Over HTTP the server makes every error of a model status 400. The message starts with what it really is.
function envoy_on_response(handle)
  if handle:headers():get(":status") ~= "400" then return end
  local body = handle:body()
  local text = body and body:getBytes(0, math.min(body:length(), SHOWN_BYTES)) or ""
  local status = STATUSES[text:match('"error"%s*:%s*"(E_[A-Z_]+): ') or ""]
  if status then handle:headers():replace(":status", status) end
end
