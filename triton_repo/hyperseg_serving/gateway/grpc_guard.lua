-- Reads every message of a gRPC call before the server does, in plain calls and in streams.
--
-- What no stock filter sees stands inside the messages: the model's name, names of inputs, parameters of inputs and
-- outputs (`classification` ends release 24.10 by SIGFPE also over gRPC; shared memory is for callers on the server's
-- machine). Numbers are those of the fields in Triton's `grpc_service.proto`. A message that may not pass is replaced
-- by one that asks for a model named after the refusal: the server answers it at once, in the call that it belongs to,
-- and a stream lives on.
--
-- MODELS (name -> set of input names) and MAX_MESSAGE_BYTES are written in front of this file.

local INFER = {
  ["/inference.GRPCInferenceService/ModelInfer"] = true,
  ["/inference.GRPCInferenceService/ModelStreamInfer"] = true,
}
local MODEL_NAME, ID, INPUTS, OUTPUTS = 1, 3, 5, 6
local NAME, INPUT_PARAMETERS, OUTPUT_PARAMETERS = 1, 4, 2
local PREFIX_BYTES = 5

local function varint(text, at)
  local value, scale = 0, 1
  for offset = 0, 9 do
    local byte = text:byte(at + offset)
    if not byte then return nil end
    value = value + byte % 128 * scale
    if byte < 128 then return value, at + offset + 1 end
    scale = scale * 128
  end
end

-- Calls visit(field, first, last) for each field with a length; whether the bytes are a message at all.
local function fields(text, at, last, visit)
  while at <= last do
    local tag, size
    tag, at = varint(text, at)
    if not tag then return false end
    local kind = tag % 8
    if kind == 2 then
      size, at = varint(text, at)
      if not size or at + size - 1 > last then return false end
      if not visit((tag - kind) / 8, at, at + size - 1) then return false end
      at = at + size
    elseif kind == 0 then
      size, at = varint(text, at)
      if not size then return false end
    elseif kind == 1 then
      at = at + 8
    elseif kind == 5 then
      at = at + 4
    else
      return false
    end
  end
  return at == last + 1
end

-- Why a ModelInferRequest may not pass, or nil; and its id.
local function refusal(text)
  local models, inputs, id, found = {}, {}, "", nil

  local function visit_input(field, first, last)
    if field == NAME then inputs[#inputs + 1] = text:sub(first, last) end
    if field == INPUT_PARAMETERS then found = "parameters of inputs, such as shared memory, are not taken" end
    return true
  end

  local function visit_output(field)
    if field == OUTPUT_PARAMETERS then
      found = "parameters of outputs, such as classification and shared memory, are not taken"
    end
    return true
  end

  local function visit(field, first, last)
    if field == MODEL_NAME then models[#models + 1] = text:sub(first, last) end
    if field == ID then id = text:sub(first, last) end
    if field == INPUTS then return fields(text, first, last, visit_input) end
    if field == OUTPUTS then return fields(text, first, last, visit_output) end
    return true
  end

  if not fields(text, 1, #text, visit) then return "the message is malformed", "" end
  if #models ~= 1 or not MODELS[models[1]] then return "no model of this name is served over gRPC here", id end
  for _, name in ipairs(inputs) do
    if not MODELS[models[1]][name] then return "the model takes no input of this name", id end
  end
  return found, id
end

local function with_length(field, text)
  local size, bytes = #text, {}
  repeat
    local low = size % 128
    size = (size - low) / 128
    bytes[#bytes + 1] = string.char(size > 0 and low + 128 or low)
  until size == 0
  return string.char(field * 8 + 2) .. table.concat(bytes) .. text
end

local function framed(text)
  local size = #text
  return string.char(0, math.floor(size / 2 ^ 24) % 256, math.floor(size / 2 ^ 16) % 256, math.floor(size / 256) % 256,
    size % 256) .. text
end

local function refused(why, id)
  return framed(with_length(MODEL_NAME, "E_REQUEST: " .. why) .. with_length(ID, id or ""))
end

local function judged(message, infers)
  if message:byte(1) ~= 0 then return refused("compressed messages are not taken") end
  if not infers then return message end
  local read, why, id = pcall(refusal, message:sub(PREFIX_BYTES + 1))
  if not read then return refused("the message cannot be read") end  -- an error in a script lets the request pass
  return why and refused(why, id) or message
end

-- Whole messages off the front of `text`: what may pass, the rest, how long that must become, and how much to skip.
local function take(text, infers)
  local passed, at = {}, 1
  while #text - at + 1 >= PREFIX_BYTES do
    local a, b, c, d = text:byte(at + 1, at + 4)
    local length = ((a * 256 + b) * 256 + c) * 256 + d
    local after = at + PREFIX_BYTES + length
    if length > MAX_MESSAGE_BYTES then
      passed[#passed + 1] = refused("the message is above " .. MAX_MESSAGE_BYTES .. " bytes")
      if after > #text then return table.concat(passed), "", PREFIX_BYTES, after - 1 - #text end
    elseif after > #text + 1 then
      return table.concat(passed), text:sub(at), after - at, 0
    else
      passed[#passed + 1] = judged(text:sub(at, after - 1), infers)
    end
    at = after
  end
  return table.concat(passed), text:sub(at), PREFIX_BYTES, 0
end

function envoy_on_request(handle)
  local infers = INFER[handle:headers():get(":path")]
  local held, size, needed, skipped = {}, 0, PREFIX_BYTES, 0
  for chunk in handle:bodyChunks() do
    local bytes = chunk:getBytes(0, chunk:length())
    local dropped = math.min(skipped, #bytes)
    skipped, bytes = skipped - dropped, bytes:sub(dropped + 1)
    held[#held + 1], size = bytes, size + #bytes
    local passed = ""
    if size >= needed then
      local rest
      passed, rest, needed, skipped = take(table.concat(held), infers)
      held, size = { rest }, #rest
    end
    chunk:setBytes(passed)
  end
end
