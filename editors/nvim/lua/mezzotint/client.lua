-- The language client: starting, attaching, the server's notifications, and starting again after a crash.
local config = require("mezzotint.config")

local M = {}

local MAX_RESTARTS, FIRST_DELAY_MS, STABLE_MS, STOP_MS = 5, 1000, 30000, 2000
local LOOKS = { Inactive = "off", Warning = "warning" } -- in place of what the server is doing
local state = { name = "off", message = "", kind = "Normal", uri = "", enabled = true, restarts = 0 }

--- "mezzotint: idle"; where nothing is offered, "off" and the reason, behind an error or a warning its reason as well.
function M.status()
  local buffer = vim.api.nvim_get_current_buf()
  if not state.enabled or not config.is_on(buffer) then return "mezzotint: off" end
  local said = (state.kind ~= "Normal" or state.answered) and (state.uri == "" or state.uri == vim.uri_from_bufnr(buffer))
  if not said or state.message == "" then return "mezzotint: " .. state.name end
  return ("mezzotint: %s (%s)"):format(LOOKS[state.kind] or state.name, state.message)
end

-- Take a state: one of our own, or what the server says, of a document (`uri`) or of all.
local function set(name, message, kind, uri, answered)
  state.answered = answered -- the message is who answered
  state.name, state.message, state.kind, state.uri = name, message or "", kind or "Error", uri or ""
  vim.api.nvim_exec_autocmds("User", { pattern = "MezzotintStatus", modeline = false })
  vim.cmd.redrawstatus()
end

--- The running client, if there is one.
function M.get()
  return vim.lsp.get_clients({ name = "mezzotint" })[1]
end

local function capabilities()
  local found = vim.lsp.protocol.make_client_capabilities()
  found.textDocument.inlineCompletion = { dynamicRegistration = false }
  found.general.positionEncodings = { "utf-8", "utf-16", "utf-32" }
  return found
end

local function start_again()
  if state.enabled and not M.get() then
    for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
      if vim.api.nvim_buf_is_loaded(buffer) then M.attach(buffer) end
    end
  end
end

-- The server ended although nobody asked it to: start it again, later each time, and say so once at the end.
local function on_exit(code, signal)
  vim.schedule(function()
    require("mezzotint.ghost").clear_all()
    if not state.enabled or state.stopping then return end
    state.restarts = state.restarts + 1
    if state.restarts > MAX_RESTARTS then
      set("error", "the server keeps ending")
      vim.notify("Mezzotint: the server keeps ending; :Mezzotint restart tries again", vim.log.levels.ERROR)
      return
    end
    set("error", ("the server ended (%s)"):format(signal ~= 0 and "signal " .. signal or code))
    vim.defer_fn(start_again, FIRST_DELAY_MS * 2 ^ (state.restarts - 1))
  end)
end

-- Where the server is started: not in the opened folder, where a Python may import that folder's files.
local function own_folder()
  local folder = vim.fn.stdpath("state")
  vim.fn.mkdir(folder, "p")
  return folder
end

local function options()
  local server = { drafts = config.options.drafts, status = true }
  return {
    name = "mezzotint",
    cmd = config.options.cmd,
    cmd_cwd = own_folder(),
    root_dir = vim.fs.root(0, ".git") or vim.fn.getcwd(),
    capabilities = capabilities(),
    init_options = vim.tbl_extend("force", server, config.options.server),
    handlers = {
      ["mezzotint/draft"] = function(_, draft) require("mezzotint.request").on_draft(draft) end,
      ["mezzotint/status"] = function(_, new) set(new.state, new.message, new.kind, new.uri, new.reason == "") end,
    },
    on_init = function(client)
      vim.defer_fn(function() if M.get() == client then state.restarts = 0 end end, STABLE_MS)
    end,
    on_attach = function(_, buffer) require("mezzotint.request").watch(buffer) end,
    on_exit = on_exit,
  }
end

-- Whether there is such a program; said once, and in the status.
local function can_run()
  local cmd = config.options.cmd
  if type(cmd) ~= "table" or vim.fn.executable(cmd[1]) == 1 then return true end
  local reason = "cannot run " .. cmd[1]
  if state.message ~= reason then vim.notify("Mezzotint: " .. reason .. "; see :checkhealth mezzotint", vim.log.levels.WARN) end
  set("error", reason)
  return false
end

--- Attach a buffer that wants suggestions; starts the server for the first.
function M.attach(buffer)
  if not state.enabled or not config.is_on(buffer) or not can_run() then return end
  require("mezzotint.keys").map()
  local given = vim.tbl_deep_extend("force", options(), vim.lsp.config.mezzotint or {}) -- what the user set there wins
  vim.lsp.start(given, { bufnr = buffer, silent = true, reuse_client = function(client) return client.name == "mezzotint" end })
end

local function stop(after)
  local client = M.get()
  require("mezzotint.ghost").clear_all()
  if not client then return after and after() end
  state.stopping = true
  client:stop()
  vim.defer_fn(function() if not client:is_stopped() then client:stop(true) end end, STOP_MS) -- it hangs
  local timer = assert(vim.uv.new_timer())
  timer:start(20, 20, vim.schedule_wrap(function()
    if not client:is_stopped() or timer:is_closing() then return end
    timer:close()
    state.stopping = false
    if after then after() end
  end))
end

--- Offer nothing by itself for so many minutes; 0 ends that.
function M.snooze(minutes)
  local client = M.get()
  if not client then return vim.notify("Mezzotint: no server runs", vim.log.levels.WARN) end
  require("mezzotint.ghost").clear_all()
  require("mezzotint.request").forget()
  client:request("mezzotint/snooze", { minutes = minutes }, function(problem)
    if problem then vim.notify("Mezzotint: " .. problem.message, vim.log.levels.ERROR) end
  end)
end

--- Stop the server and start it anew.
function M.restart()
  state.enabled, state.restarts = true, 0
  stop(start_again)
end

--- Attach what is open already: the plugin was loaded late.
function M.attach_all()
  start_again()
end

--- Switch everything on or off; off ends the server.
function M.set_enabled(on)
  state.enabled = on
  if on then start_again() else stop(function() set("off") require("mezzotint.keys").unmap() end) end
end

return M
