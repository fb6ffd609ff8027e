-- What the keys do with the suggestion on screen: accept it or a part, look at another one, dismiss it, ask for one.
local client = require("mezzotint.client")
local ghost = require("mezzotint.ghost")
local request = require("mezzotint.request")

local M = {}

-- Put text in place of the suggestion's range, as an undo step of its own, and the cursor behind it.
local function insert(suggestion, text, end_col)
  vim.cmd("let &undolevels = &undolevels") -- breaks the undo sequence
  local lines = vim.split(text, "\n", { plain = true })
  vim.api.nvim_buf_set_text(0, suggestion.row, suggestion.col, suggestion.row, end_col, lines)
  local col = #lines == 1 and suggestion.col + #text or #lines[#lines]
  vim.api.nvim_win_set_cursor(0, { suggestion.row + #lines, col })
end

local function accept(kind, length)
  local buffer = vim.api.nvim_get_current_buf()
  local suggestion = ghost.get(buffer)
  if not suggestion then return end
  local whole = length >= #suggestion.text
  ghost.clear(buffer)
  insert(suggestion, suggestion.text:sub(1, length), whole and suggestion.end_col or suggestion.col)
  local running = client.get()
  if running then running:notify("mezzotint/didAccept", { kind = kind }) end
  if not whole then
    local row, col = unpack(vim.api.nvim_win_get_cursor(0))
    ghost.show(buffer, vim.tbl_extend("force", suggestion, {
      row = row - 1, col = col, end_col = row - 1 == suggestion.row and suggestion.end_col + length or col,
      text = suggestion.text:sub(length + 1), masked = {}, items = { suggestion.text:sub(length + 1) }, index = 1,
      line = vim.api.nvim_get_current_line(),
    }))
  end
  request.ask(buffer)
end

--- Accept all of it.
function M.accept()
  local suggestion = ghost.get(0)
  if suggestion then accept("full", #suggestion.text) end
end

--- Accept the next word, with the spaces before it.
function M.accept_word()
  local suggestion = ghost.get(0)
  if not suggestion then return end
  local _, stop = suggestion.text:find("^%s*[%w_]+")
  if not stop then _, stop = suggestion.text:find("^%s*[^%s%w_]+") end
  accept("word", stop or #suggestion.text)
end

--- Accept up to the end of the line; the line break comes with the next line.
function M.accept_line()
  local suggestion = ghost.get(0)
  if not suggestion then return end
  local stop = suggestion.text:find("\n", 2, true)
  accept("line", stop and stop - 1 or #suggestion.text)
end

local function turn(by)
  local buffer = vim.api.nvim_get_current_buf()
  local suggestion = ghost.get(buffer)
  if not suggestion or #suggestion.items < 2 then return end
  local index = (suggestion.index - 1 + by) % #suggestion.items + 1
  ghost.show(buffer, vim.tbl_extend("force", suggestion, { index = index, text = suggestion.items[index], masked = {} }))
end

-- The first turn asks for more candidates; then they are at hand.
local function cycle(by)
  local suggestion = ghost.get(0)
  if not suggestion then return end
  if #suggestion.items > 1 then return turn(by) end
  request.invoke(vim.api.nvim_get_current_buf(), function() turn(by) end)
end

--- Show the next candidate.
function M.next() cycle(1) end

--- Show the previous candidate.
function M.previous() cycle(-1) end

--- Ask by hand.
function M.complete() request.invoke(vim.api.nvim_get_current_buf(), function() end) end

--- Take the suggestion away until the next change.
function M.dismiss()
  request.forget()
  ghost.clear(vim.api.nvim_get_current_buf())
end

return M
