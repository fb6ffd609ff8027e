-- Ghost text: one suggestion per buffer, drawn with extmarks; what is undecided is shaded.
--
-- A suggestion is { row, col, end_col, text, masked, items, index, done }: rows from 0, columns in bytes, `masked` in bytes
-- of `text`. It stands where it begins; typing its own text moves it along.
local M = {}

local namespace = vim.api.nvim_create_namespace("mezzotint")
local shown = {} -- buffer -> suggestion

vim.api.nvim_set_hl(0, "MezzotintGhost", { link = "Comment", default = true })
vim.api.nvim_set_hl(0, "MezzotintMask", { link = "Visual", default = true })

M.namespace = namespace

--- The suggestion of a buffer, or nil.
function M.get(buffer)
  return shown[buffer == 0 and vim.api.nvim_get_current_buf() or buffer]
end

--- Take a suggestion away.
function M.clear(buffer)
  shown[buffer] = nil
  if vim.api.nvim_buf_is_valid(buffer) then vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1) end
end

--- Take all suggestions away.
function M.clear_all()
  for buffer in pairs(shown) do M.clear(buffer) end
end

-- How many bytes at the end of the first line repeat what stands behind the cursor already.
local function repeated(line, replaced)
  local n = math.min(#line, #replaced)
  while n > 0 and line:sub(-n) ~= replaced:sub(-n) do n = n - 1 end
  return n
end

-- {text, highlight} pieces of text[first + 1 .. last], cut at the borders of the masked spans.
local function pieces(suggestion, first, last)
  local found, at = {}, first
  local function add(stop, group)
    stop = math.min(stop, last)
    if stop > at then
      found[#found + 1] = { suggestion.text:sub(at + 1, stop), group }
      at = stop
    end
  end
  for _, span in ipairs(suggestion.masked) do
    add(span[1], "MezzotintGhost")
    add(span[2], "MezzotintMask")
  end
  add(last, "MezzotintGhost")
  return found
end

local function draw(buffer, suggestion)
  local lines, at = {}, 0
  for line in (suggestion.text .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = { at, at + #line }
    at = at + #line + 1
  end
  local current = vim.api.nvim_buf_get_lines(buffer, suggestion.row, suggestion.row + 1, false)[1] or ""
  local replaced = current:sub(suggestion.col + 1, suggestion.end_col)
  local first = lines[1]
  first[2] = first[2] - repeated(suggestion.text:sub(first[1] + 1, first[2]), replaced)
  local below = {}
  for i = 2, #lines do
    local line = pieces(suggestion, lines[i][1], lines[i][2])
    below[#below + 1] = #line > 0 and line or { { " ", "MezzotintGhost" } }
  end
  vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
  vim.api.nvim_buf_set_extmark(buffer, namespace, suggestion.row, suggestion.col, {
    virt_text = pieces(suggestion, first[1], first[2]),
    virt_text_pos = "inline",
    virt_lines = #below > 0 and below or nil,
    hl_mode = "combine",
    right_gravity = false,
  })
end

--- Show a suggestion; nothing is redrawn that looks the same.
function M.show(buffer, suggestion)
  local old = shown[buffer]
  if suggestion.text == "" then return M.clear(buffer) end
  shown[buffer] = suggestion
  local same = old and old.text == suggestion.text and old.row == suggestion.row and old.col == suggestion.col
    and old.end_col == suggestion.end_col and vim.deep_equal(old.masked, suggestion.masked)
  if not same then draw(buffer, suggestion) end
end

-- Spans behind the first n bytes, moved there.
local function moved(spans, n)
  local found = {}
  for _, span in ipairs(spans) do
    if span[2] > n then found[#found + 1] = { math.max(span[1], n) - n, span[2] - n } end
  end
  return found
end

--- Follow the cursor after a change: true if the user typed what the suggestion says, else it is taken away.
function M.follow(buffer)
  local suggestion = shown[buffer]
  if not suggestion then return false end
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local line = vim.api.nvim_get_current_line()
  local typed = line:sub(suggestion.col + 1, col)
  local through = row - 1 == suggestion.row and col >= suggestion.col and vim.startswith(suggestion.text, typed)
    and line == suggestion.line:sub(1, suggestion.col) .. typed .. suggestion.line:sub(suggestion.col + 1)
  if not through or #typed == #suggestion.text then
    M.clear(buffer)
    return false
  end
  M.show(buffer, vim.tbl_extend("force", suggestion, {
    col = col,
    end_col = suggestion.end_col + #typed,
    text = suggestion.text:sub(#typed + 1),
    masked = moved(suggestion.masked, #typed),
    items = vim.tbl_map(function(item) return vim.startswith(item, typed) and item:sub(#typed + 1) or "" end, suggestion.items),
    line = line,
  }))
  return true
end

return M
