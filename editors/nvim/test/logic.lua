-- What the plugin does without a server: nvim --clean -l editors/nvim/test/logic.lua [TEST]
--
-- Rule: each test has a fresh buffer with the line "x = " in it and the cursor behind that. The client is a stand-in
-- that notes what the server is told.
local root = vim.fs.dirname(vim.fs.dirname(vim.fs.abspath(debug.getinfo(1, "S").source:sub(2))))
vim.opt.rtp:prepend(root)
vim.o.virtualedit = "onemore" -- the cursor may stand behind the last character, as in insert mode

local told = {}
local server = { notify = function(_, method, params) told[#told + 1] = { method, params.kind } end }
package.loaded["mezzotint.client"] = { get = function() return server end, attach = function() end }
package.loaded["mezzotint.request"] = { ask = function() end, forget = function() end, invoke = function(_, done) done() end }

local accept = require("mezzotint.accept")
local config = require("mezzotint.config")
local ghost = require("mezzotint.ghost")

local function same(found, wanted)
  if not vim.deep_equal(found, wanted) then
    error(("found %s, wanted %s"):format(vim.inspect(found), vim.inspect(wanted)), 2)
  end
end

local function line() return vim.api.nvim_get_current_line() end
local function lines() return vim.api.nvim_buf_get_lines(0, 0, -1, false) end
local function buffer() return vim.api.nvim_get_current_buf() end

local function type_text(text)
  local col = vim.api.nvim_win_get_cursor(0)[2]
  vim.api.nvim_buf_set_text(0, 0, col, 0, col, { text })
  vim.api.nvim_win_set_cursor(0, { 1, col + #text })
end

-- Put text behind the cursor.
local function behind(text)
  vim.api.nvim_buf_set_text(0, 0, 4, 0, 4, { text })
  vim.api.nvim_win_set_cursor(0, { 1, 4 })
end

-- Show a suggestion at the cursor.
local function suggest(text, more)
  local col = vim.api.nvim_win_get_cursor(0)[2]
  local one = { row = 0, col = col, end_col = col, text = text, masked = {}, items = { text }, index = 1, line = line() }
  ghost.show(buffer(), vim.tbl_extend("force", one, more or {}))
end

local function marks() return vim.api.nvim_buf_get_extmarks(0, ghost.namespace, 0, -1, { details = true }) end

-- The pieces on the cursor's line, and the texts of the lines below, as they are on screen.
local function drawn()
  local mark = marks()[1]
  if not mark then return nil end
  local function text_of(pieces)
    return table.concat(vim.tbl_map(function(piece) return piece[1] end, pieces))
  end
  return { mark[4].virt_text, unpack(vim.tbl_map(text_of, mark[4].virt_lines or {})) }
end

local tests = {}

function tests.what_is_undecided_is_shaded()
  suggest("sum(items)", { masked = { { 0, 1 }, { 4, 9 } } })
  same(drawn(), { {
    { "s", "MezzotintMask" }, { "um(", "MezzotintGhost" }, { "items", "MezzotintMask" }, { ")", "MezzotintGhost" },
  } })
end

function tests.further_lines_are_below_the_cursor()
  suggest("a\nbc\n\nd", { masked = { { 0, 3 } } })
  same(drawn(), { { { "a", "MezzotintMask" } }, "bc", " ", "d" }) -- a line without text has a cell, else it would be missing
end

function tests.what_stands_behind_the_cursor_is_not_drawn_twice()
  behind(")")
  suggest("a, b)", { end_col = 5 })
  same(drawn(), { { { "a, b", "MezzotintGhost" } } })
end

function tests.what_looks_the_same_is_not_drawn_again()
  suggest("value")
  local id = marks()[1][1]
  suggest("value", { done = true })
  same({ marks()[1][1], ghost.get(0).done }, { id, true })
end

function tests.a_suggestion_of_no_text_takes_the_old_one_away()
  suggest("value")
  suggest("")
  same({ ghost.get(0), drawn() }, {})
end

function tests.typing_what_it_says_leaves_the_rest()
  suggest("value", { masked = { { 1, 2 }, { 3, 5 } }, items = { "value", "vast", "other", "va" } })
  type_text("va")
  same(ghost.follow(buffer()), true)
  local now = ghost.get(0)
  same({ now.text, now.masked, now.items, now.col, now.end_col }, { "lue", { { 1, 3 } }, { "lue", "st" }, 6, 6 })
  same(drawn(), { { { "l", "MezzotintGhost" }, { "ue", "MezzotintMask" } } })
end

function tests.typing_something_else_takes_it_away()
  suggest("value")
  type_text("b")
  same(ghost.follow(buffer()), false)
  same({ ghost.get(0), drawn() }, {})
end

function tests.typing_all_of_it_leaves_nothing()
  suggest("va")
  type_text("va")
  same(ghost.follow(buffer()), false)
  same(drawn(), nil)
end

function tests.a_change_elsewhere_on_the_line_takes_it_away()
  suggest("value")
  vim.api.nvim_buf_set_text(0, 0, 0, 0, 1, { "y" })
  same(ghost.follow(buffer()), false)
end

function tests.accepting_all_replaces_what_it_stands_for()
  behind("old)")
  suggest("new\nline)", { end_col = 8 })
  accept.accept()
  same(lines(), { "x = new", "line)" })
  same(vim.api.nvim_win_get_cursor(0), { 2, 5 })
  same(told, { { "mezzotint/didAccept", "full" } })
end

function tests.accepting_words_goes_through_it_to_the_end()
  suggest(" sum(a)")
  local seen = {}
  while ghost.get(0) do
    accept.accept_word()
    seen[#seen + 1] = line()
  end
  same(seen, { "x =  sum", "x =  sum(", "x =  sum(a", "x =  sum(a)" })
  same(told[1], { "mezzotint/didAccept", "word" })
end

function tests.accepting_lines_goes_through_it_to_the_end()
  suggest("a\n\n  b")
  accept.accept_line()
  same({ lines(), ghost.get(0).text }, { { "x = a" }, "\n\n  b" })
  accept.accept_line()
  accept.accept_line()
  same({ lines(), ghost.get(0) }, { { "x = a", "", "  b" } })
  same(told[1], { "mezzotint/didAccept", "line" })
end

function tests.cycling_goes_round()
  suggest("a", { items = { "a", "b", "c" } })
  local seen = {}
  for _, turn in ipairs({ "next", "next", "next", "previous" }) do
    accept[turn]()
    seen[#seen + 1] = ghost.get(0).text
  end
  same(seen, { "b", "c", "a", "c" })
end

function tests.keys_without_a_suggestion_do_nothing()
  for _, key in ipairs({ "accept", "accept_word", "accept_line", "next", "previous", "dismiss" }) do accept[key]() end
  same({ line(), told }, { "x = ", {} })
end

function tests.a_buffers_own_word_wins_over_its_filetypes()
  config.set({ filetypes = { ["*"] = true, text = false } })
  same(config.is_on(buffer()), true)
  vim.bo.filetype = "text"
  same(config.is_on(buffer()), false)
  vim.b.mezzotint = true
  same(config.is_on(buffer()), true)
end

function tests.filetypes_that_are_not_named_are_as_the_star_says()
  config.set({ filetypes = { ["*"] = false, text = true } })
  same(config.is_on(buffer()), false)
  vim.bo.filetype = "text"
  same(config.is_on(buffer()), true)
end

function tests.buffers_that_are_no_files_are_off()
  vim.bo.buftype = "nofile"
  same(config.is_on(buffer()), false)
end

function tests.options_are_taken_over_the_defaults()
  config.set({ keys = { accept = "<C-y>" }, server = { maxTokens = 32 } })
  same({ config.options.keys.accept, config.options.keys.next }, { "<C-y>", "<M-]>" })
  same(config.defaults.keys.accept, "<Tab>")
end

-- The client itself, not its stand-in, with a handler for what its server says.
local function real_client()
  local stand_in = package.loaded["mezzotint.client"]
  package.loaded["mezzotint.client"] = nil
  local real, start = require("mezzotint.client"), vim.lsp.start
  package.loaded["mezzotint.client"] = stand_in
  local given
  vim.lsp.start = function(options) given = options end
  config.set({ cmd = { vim.v.progpath }, filetypes = { ["*"] = true } })
  real.attach(buffer())
  vim.lsp.start = start
  require("mezzotint.keys").unmap()
  return real, function(status) given.handlers["mezzotint/status"](nil, status) return real.status() end
end

function tests.the_status_is_that_of_the_buffer()
  local _, says = real_client()
  vim.api.nvim_buf_set_name(0, "/status/a.py")
  local here = vim.uri_from_bufnr(0)
  local secret = { state = "idle", message = "a key", kind = "Inactive", uri = here, reason = "secret" }
  same(says(secret), "mezzotint: off (a key)")
  same(says(vim.tbl_extend("force", secret, { uri = "file:///b.py" })), "mezzotint: idle")
  same(says(vim.tbl_extend("force", secret, { uri = "" })), "mezzotint: off (a key)")
  same(says(vim.tbl_extend("force", secret, { kind = "Warning" })), "mezzotint: warning (a key)")
  same(says({ state = "error", message = "no weights", kind = "Error", uri = "" }), "mezzotint: error (no weights)")
  same(says({ state = "idle", message = "answered by x", kind = "Normal", uri = "", reason = "" }), "mezzotint: idle (answered by x)")
  same(says({ state = "loading", message = "it loads", kind = "Normal", uri = "" }), "mezzotint: loading")
end

local failed = 0
local names = arg[1] and { arg[1] } or vim.tbl_keys(tests)
table.sort(names)
for _, name in ipairs(names) do
  vim.cmd("enew!")
  vim.api.nvim_buf_set_lines(0, 0, -1, false, { "x = " })
  vim.api.nvim_win_set_cursor(0, { 1, 4 })
  for key in pairs(told) do told[key] = nil end
  config.set({})
  local ok, problem = pcall(tests[name])
  if not ok then failed = failed + 1 end
  io.write(ok and "ok " or "FAILED ", name, ok and "" or ": " .. tostring(problem), "\n")
end
io.write(#names, " tests, ", failed, " failed\n")
os.exit(failed == 0 and 0 or 1)
