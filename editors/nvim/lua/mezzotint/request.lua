-- Asking the server while the user types, and what becomes of its drafts and answers.
local client = require("mezzotint.client")
local config = require("mezzotint.config")
local ghost = require("mezzotint.ghost")

local M = {}

local METHOD = "textDocument/inlineCompletion"
local AUTOMATIC, INVOKED = 2, 1
local asked = { number = 0 } -- the newest request: number, buffer, tick (of the buffer), id, client
local timer = assert(vim.uv.new_timer())
local REST_MS = 250 -- who types next to where the cursor has rested so long need not wait
local resting = assert(vim.uv.new_timer())

-- Whether the buffer is as it was when the newest request was made.
local function unchanged()
  return vim.api.nvim_buf_is_valid(asked.buffer) and vim.b[asked.buffer].changedtick == asked.tick
end

-- Bytes of a column in the server's units.
local function column(running, line, units)
  return vim.str_byteindex(line, running.offset_encoding, units, false)
end

-- A suggestion for the current line out of what the server said; nil if the cursor is elsewhere by now.
local function suggestion(running, range, text, masked, items)
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local line = vim.api.nvim_get_current_line()
  if range.start.line ~= row - 1 or column(running, line, range.start.character) ~= col then return nil end
  local spans = vim.tbl_map(function(span)
    return { vim.str_byteindex(text, "utf-16", span[1], false), vim.str_byteindex(text, "utf-16", span[2], false) }
  end, masked)
  return {
    row = row - 1, col = col, end_col = column(running, line, range["end"].character),
    text = text, masked = spans, items = items, index = 1, line = line,
  }
end

local function may_show(buffer)
  return vim.api.nvim_get_current_buf() == buffer and vim.api.nvim_get_mode().mode:sub(1, 1) == "i"
    and vim.fn.pumvisible() == 0 and config.is_on(buffer)
end

--- A draft came: draw it, if it is for what the buffer says now.
function M.on_draft(draft)
  local running, buffer = client.get(), asked.buffer
  if not running or not buffer or asked.invoked or draft.token ~= asked.number or draft.uri ~= vim.uri_from_bufnr(buffer) then return end
  if not unchanged() or not may_show(buffer) then return end
  if draft.text == "" and not draft.done then return end -- nothing to show yet: what is on screen stays
  local new = suggestion(running, draft.range, draft.text, draft.masked, { draft.text })
  if new then ghost.show(buffer, new) end
end

local function on_answer(buffer, number, invoked)
  return function(problem, answer)
    if problem or number ~= asked.number or not unchanged() or not may_show(buffer) then return end
    asked.id = nil
    if answer == nil or answer == vim.NIL then return end
    local items = answer.items or answer
    if #items == 0 then return ghost.clear(buffer) end
    local texts = vim.tbl_map(function(item)
      return type(item.insertText) == "table" and item.insertText.value or item.insertText
    end, items)
    local new = suggestion(client.get(), items[1].range, texts[1], {}, texts)
    if not new then return end
    ghost.show(buffer, new)
    client.get():notify("mezzotint/didShow", {})
    if invoked then invoked() end
  end
end

-- A buffer that was changed while no client was attached is not tracked again by the next client (Neovim 0.12): then
-- the whole text is sent here.
local function sync(running, buffer)
  local tick = vim.b[buffer].changedtick
  if vim.lsp.util.buf_versions[buffer] == tick then return end
  vim.lsp.util.buf_versions[buffer] = tick
  running:notify("textDocument/didChange", {
    textDocument = { uri = vim.uri_from_bufnr(buffer), version = tick },
    contentChanges = { { text = table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, false), "\n") .. "\n" } },
  })
end

-- Where the cursor is, in the server's words.
local function place(running, buffer)
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local character = vim.str_utfindex(vim.api.nvim_get_current_line(), running.offset_encoding, col, false)
  return {
    textDocument = { uri = vim.uri_from_bufnr(buffer) },
    position = { line = row - 1, character = character },
  }
end

-- Say where the cursor rests: the server has the model read what stands there.
local function rest(buffer)
  local running = client.get()
  if not running or vim.api.nvim_get_current_buf() ~= buffer or not config.is_on(buffer) then return end
  if not vim.lsp.buf_is_attached(buffer, running.id) then return end
  sync(running, buffer)
  running:notify("mezzotint/didMove", place(running, buffer))
end

local function ask(buffer, kind, invoked)
  local running = client.get()
  if not running or not may_show(buffer) or not vim.lsp.buf_is_attached(buffer, running.id) then return end
  if asked.id and asked.client == running.id then running:cancel_request(asked.id) end
  sync(running, buffer)
  asked = {
    number = asked.number + 1, buffer = buffer, tick = vim.b[buffer].changedtick, client = running.id,
    invoked = invoked ~= nil, -- then what is shown stays until the answer
  }
  local question = vim.tbl_extend("error", place(running, buffer), {
    context = { triggerKind = kind },
    workDoneToken = asked.number,
  })
  local ok, id = running:request(METHOD, question, on_answer(buffer, asked.number, invoked), buffer)
  asked.id = ok and id or nil
end

--- Ask for the place of the cursor, now or after `debounce_ms`.
function M.ask(buffer)
  timer:stop()
  local run = vim.schedule_wrap(function() ask(buffer, AUTOMATIC) end)
  if config.options.debounce_ms > 0 then timer:start(config.options.debounce_ms, 0, run) else run() end
end

--- Ask for several candidates, then call `done`.
function M.invoke(buffer, done)
  ask(buffer, INVOKED, done)
end

--- Forget what was asked: the suggestion was dismissed.
function M.forget()
  local running = client.get()
  if asked.id and running and asked.client == running.id then running:cancel_request(asked.id) end
  asked = { number = asked.number + 1 }
end

--- Ask whenever the buffer changes in insert mode.
function M.watch(buffer)
  local group = vim.api.nvim_create_augroup("mezzotint." .. buffer, {})
  local function on(events, callback)
    vim.api.nvim_create_autocmd(events, { group = group, buffer = buffer, callback = callback })
  end
  on({ "TextChangedI", "InsertEnter", "CompleteDone" }, function()
    ghost.follow(buffer)
    M.ask(buffer)
  end)
  on("CursorMovedI", function()
    local now = ghost.get(buffer)
    local row, col = unpack(vim.api.nvim_win_get_cursor(0))
    if now and (now.row ~= row - 1 or now.col ~= col) and not ghost.follow(buffer) then M.ask(buffer) end
  end)
  on("CursorMoved", function() -- not in insert mode
    resting:start(REST_MS, 0, vim.schedule_wrap(function() rest(buffer) end))
  end)
  local function leave()
    ghost.clear(buffer)
    M.forget()
  end
  on({ "InsertLeave", "BufLeave", "WinLeave", "TextChangedP" }, leave)
  vim.api.nvim_create_autocmd("ModeChanged", { -- Ctrl-C and Ctrl-O leave insert mode without InsertLeave
    group = group,
    callback = function(event)
      if event.buf ~= buffer then return end
      if vim.v.event.new_mode:sub(1, 1) ~= "i" then leave() elseif vim.v.event.old_mode == "niI" then M.ask(buffer) end
    end,
  })
  M.ask(buffer) -- who typed on while the server was starting waits for no other key
end

return M
