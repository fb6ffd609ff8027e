-- The options, and for which buffers suggestions are on.
local M = {}

M.defaults = {
  cmd = { "mezzotint", "lsp" },
  -- filetype -> on or off; "*" is for all others. The embedded model was trained for Python.
  filetypes = { ["*"] = false, python = true },
  -- draw suggestions while they sharpen
  drafts = true,
  -- the server's own options, such as comments = "on": docs/protocol.md
  server = {},
  -- wait so long after a key before asking; the server drops stale requests
  debounce_ms = 0,
  -- keys in insert mode; false for none. A key does what it did before where no suggestion is shown.
  keys = {
    accept = "<Tab>",
    accept_word = "<M-Right>",
    accept_line = "<M-Down>",
    next = "<M-]>",
    previous = "<M-[>",
    dismiss = "<C-]>",
    complete = "<M-\\>", -- asks by hand; it works where nothing is shown
  },
}

M.options = vim.deepcopy(M.defaults)

--- Take the user's options over the defaults.
function M.set(options)
  M.options = vim.tbl_deep_extend("force", M.defaults, options)
end

--- Whether a buffer gets suggestions.
function M.is_on(buffer)
  local own = vim.b[buffer].mezzotint
  if own ~= nil then return own end
  local by_type = M.options.filetypes[vim.bo[buffer].filetype]
  if by_type == nil then by_type = M.options.filetypes["*"] end
  return by_type == true and vim.bo[buffer].buftype == ""
end

local function say(what, on)
  require("mezzotint.ghost").clear_all()
  vim.notify(("Mezzotint is %s for %s"):format(on and "on" or "off", what))
end

--- Switch one buffer.
function M.toggle_buffer(buffer)
  buffer = buffer == 0 and vim.api.nvim_get_current_buf() or buffer
  vim.b[buffer].mezzotint = not M.is_on(buffer)
  say("this buffer", vim.b[buffer].mezzotint)
  if vim.b[buffer].mezzotint then require("mezzotint.client").attach(buffer) end
end

--- Switch a filetype.
function M.toggle_filetype(filetype)
  local on = not M.is_on(vim.api.nvim_get_current_buf())
  M.options.filetypes[filetype] = on
  say(filetype, on)
  if on then require("mezzotint.client").attach(vim.api.nvim_get_current_buf()) end
end

return M
