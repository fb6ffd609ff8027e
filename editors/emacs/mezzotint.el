;;; mezzotint.el --- Code completion that sharpens while you look  -*- lexical-binding: t; -*-

;; Author: The Mezzotint authors
;; Version: 0.1.0
;; Package-Requires: ((emacs "29.1"))
;; Keywords: convenience, languages, completion
;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; Ghost text from the Mezzotint language server, over eglot's connection.  A
;; suggestion begins as a guess and sharpens; what may still change is shaded.
;;
;;     (require 'mezzotint)
;;     (mezzotint-use-for '(python-mode python-ts-mode))
;;     (add-hook 'python-mode-hook #'eglot-ensure)
;;
;; `mezzotint-mode' turns itself on where eglot talks to Mezzotint.  Without
;; this package eglot offers the same suggestions by `completion-at-point'.

;;; Code:

(require 'eglot)
(require 'cl-lib)

(defgroup mezzotint nil "Code completion that sharpens while you look."
  :group 'convenience :prefix "mezzotint-")

(defcustom mezzotint-command '("mezzotint" "lsp")
  "Command that starts the server."
  :type '(repeat string))

(defcustom mezzotint-drafts t
  "Whether suggestions are drawn while they sharpen."
  :type 'boolean)

(defcustom mezzotint-server-options nil
  "Further options of the server, a property list like (:comments \"on\")."
  :type 'plist)

(defcustom mezzotint-disabled-modes nil
  "Major modes without suggestions."
  :type '(repeat symbol))

(defcustom mezzotint-idle-delay 0
  "Seconds to wait after a key before asking; the server drops stale requests."
  :type 'number)

(defface mezzotint-ghost '((t :inherit shadow))
  "Face of decided ghost text.")

(defface mezzotint-mask '((t :inherit (shadow region)))
  "Face of ghost text that may still change.")

(defconst mezzotint--max-restarts 5)
(defconst mezzotint--stable-seconds 30)

(defvar mezzotint--status '("off" . "") "State of the server and its reason.")
(defvar mezzotint--reason nil
  "Why nothing is offered, a list (KIND MESSAGE URI); URI is \"\" for all buffers.")
(defvar mezzotint--restarts 0 "Restarts since the server was last stable.")

(defvar mezzotint-mode)

(cl-defstruct (mezzotint--suggestion (:copier mezzotint--copy))
  "TEXT at POINT instead of the text up to END; MASKED spans of it may change.
ITEMS are all candidates, INDEX the one shown; TICK is the buffer's."
  text point end masked items index tick)

(defvar-local mezzotint--shown nil "The suggestion on screen.")
(defvar-local mezzotint--overlay nil "The overlay that shows it.")
(defvar-local mezzotint--asked 0 "Number of the newest request.")
(defconst mezzotint--rest-delay 0.25 "Seconds behind which point rests.")
(defvar mezzotint--resting nil "The timer that waits for that.")
(defvar-local mezzotint--rested nil "Where it rested last.")
(defvar-local mezzotint--invoked nil "Non-nil while candidates are asked for.")
(defvar-local mezzotint--tick nil "The buffer's tick at the last look.")
(defvar-local mezzotint--timer nil "Timer of the next request.")

;;;; The connection

;; Under these names since eglot 1.16; Emacs 29 has 1.12.
(defalias 'mezzotint--range-region
  (if (fboundp 'eglot-range-region) 'eglot-range-region 'eglot--range-region))
(defalias 'mezzotint--uri-to-path
  (if (fboundp 'eglot-uri-to-path) 'eglot-uri-to-path 'eglot--uri-to-path))

;;;###autoload
(defun mezzotint-use-for (modes)
  "Let eglot start Mezzotint for MODES."
  (add-to-list 'eglot-server-programs (cons modes #'mezzotint--contact)))

(defclass mezzotint-server (eglot-lsp-server) ()
  "A connection to Mezzotint: what is done here for it is done for no other server.")

(cl-defmethod initialize-instance :around ((_server mezzotint-server) &rest _)
  "Start the process away from the project, whose files a Python may import."
  (let ((default-directory (if (file-remote-p default-directory) default-directory data-directory)))
    (cl-call-next-method)))

(defun mezzotint--contact (&rest _)
  "The command and options for eglot."
  `(mezzotint-server
    ,@mezzotint-command
    :initializationOptions
    (:drafts ,(if mezzotint-drafts t :json-false) :status t ,@mezzotint-server-options)))

(cl-defmethod eglot-client-capabilities :around ((_server mezzotint-server))
  "Announce inline completion."
  (let ((capabilities (cl-call-next-method)))
    (plist-put capabilities :textDocument
               (append (plist-get capabilities :textDocument)
                       '(:inlineCompletion (:dynamicRegistration :json-false))))))

(cl-defmethod eglot-handle-notification
  ((_server mezzotint-server) (_method (eql mezzotint/status)) &key state message kind uri &allow-other-keys)
  "Show the STATE of the server, and its MESSAGE, of this KIND and about URI."
  (setq mezzotint--reason (and (member kind '("Inactive" "Warning")) (list kind message (or uri ""))))
  (mezzotint--set-status state message))

(defun mezzotint--set-status (state &optional message)
  "Show STATE and MESSAGE in the mode line."
  (setq mezzotint--status (cons state (or message "")))
  (force-mode-line-update t))

(defun mezzotint--look ()
  "This buffer's state for the mode line, and the reason: a pair of strings."
  (pcase-let ((`(,kind ,message ,uri) mezzotint--reason))
    (cond ((equal (car mezzotint--status) "error") mezzotint--status)
          ((and kind (or (equal uri "") (equal uri (mezzotint--uri))))
           (cons (if (equal kind "Warning") "warning" "off") message))
          (t mezzotint--status))))

(defun mezzotint--uri ()
  "The URI of this buffer, as eglot names it."
  (plist-get (eglot--TextDocumentIdentifier) :uri))

(defun mezzotint--lighter ()
  "Text for the mode line, with the reason as its help text."
  (pcase-let ((`(,look . ,why) (mezzotint--look)))
    (propertize (format " Mz[%s]" look) 'help-echo (if (string-empty-p why) "Mezzotint" (concat "Mezzotint: " why)))))

(defun mezzotint-status ()
  "Say the state of the server, or the reason for no suggestions here."
  (interactive)
  (pcase-let ((`(,look . ,why) (mezzotint--look)))
    (message "Mezzotint: %s%s" look (if (string-empty-p why) "" (format " (%s)" why)))))

(defun mezzotint-snooze (minutes)
  "Offer nothing unasked for MINUTES; 0 ends that."
  (interactive "nSnooze for so many minutes (0 ends it): ")
  (let ((server (or (mezzotint--server) (user-error "Mezzotint: no server runs here"))))
    (mezzotint-dismiss)
    (jsonrpc-request server :mezzotint/snooze (list :minutes minutes))))

(defun mezzotint--server ()
  "The buffer's server, if it is Mezzotint and can do inline completion.
To send to a process that was stopped is an error, and an error in
`post-command-hook' would take this package out of it for good."
  (when-let* ((server (eglot-current-server))
              ((mezzotint-server-p server))
              ((jsonrpc-running-p server))
              ((not (eq (process-status (jsonrpc--process server)) 'stop)))
              ((plist-member (eglot--capabilities server) :inlineCompletionProvider)))
    server))

(defun mezzotint--managed ()
  "Follow eglot: on with its connection, and back on after a crash."
  (cond ((not (derived-mode-p 'prog-mode 'text-mode)))
        ((mezzotint--server)
         (unless (memq major-mode mezzotint-disabled-modes) (mezzotint-mode 1))
         (run-at-time mezzotint--stable-seconds nil #'mezzotint--stable (eglot-current-server)))
        (mezzotint-mode (mezzotint--lost))))

(defun mezzotint--stable (server)
  "Forget earlier crashes if SERVER is still running."
  (when (jsonrpc-running-p server) (setq mezzotint--restarts 0)))

(defun mezzotint--lost ()
  "The connection is gone: clear, and connect again, later each time."
  (mezzotint-clear)
  (let ((buffer (current-buffer)))
    (cond ((not (buffer-live-p buffer)))
          ((>= mezzotint--restarts mezzotint--max-restarts)
           (mezzotint--set-status "error" "the server keeps ending")
           (message "Mezzotint: the server keeps ending; M-x mezzotint-restart tries again"))
          (t (mezzotint--set-status "error" "the server ended")
             (run-at-time (expt 2 mezzotint--restarts) nil #'mezzotint--connect buffer)
             (setq mezzotint--restarts (1+ mezzotint--restarts))))))

(defun mezzotint--connect (buffer)
  "Connect BUFFER again if it is not, and still wants it."
  (when (buffer-live-p buffer)
    (with-current-buffer buffer
      (when (and mezzotint-mode (not (eglot-current-server)))
        (let ((inhibit-message t))
          (ignore-errors (apply #'eglot--connect (eglot--guess-contact))))))))

(defun mezzotint-restart ()
  "Start the server anew."
  (interactive)
  (setq mezzotint--restarts 0)
  (mezzotint-clear)
  (if-let* ((server (eglot-current-server))) (eglot-reconnect server t)
    (mezzotint--connect (current-buffer))))

;;;; Ghost text

(defun mezzotint-clear ()
  "Take the suggestion away."
  (interactive)
  (setq mezzotint--shown nil)
  (when mezzotint--overlay (delete-overlay mezzotint--overlay)))

(defun mezzotint--popup-p ()
  "Whether another completion is on screen."
  (or (bound-and-true-p corfu--candidates) (bound-and-true-p company-candidates)
      (bound-and-true-p completion-in-region-mode)
      (bound-and-true-p completion-preview-active-mode)))

(defun mezzotint--yield ()
  "Give way to a completion that has come on screen beside ours."
  (when (mezzotint--popup-p) (mezzotint-clear)))

(defun mezzotint--show (suggestion)
  "Draw SUGGESTION, unless it is what is on screen already."
  (cond ((or (string-empty-p (mezzotint--suggestion-text suggestion)) (mezzotint--popup-p))
         (mezzotint-clear))
        ((and mezzotint--shown (overlay-buffer mezzotint--overlay)
              (equal (mezzotint--looks mezzotint--shown) (mezzotint--looks suggestion)))
         (setq mezzotint--shown suggestion))
        (t (setq mezzotint--shown suggestion)
           (mezzotint--draw))))

(defun mezzotint--looks (suggestion)
  "What of SUGGESTION can be seen."
  (list (mezzotint--suggestion-text suggestion) (mezzotint--suggestion-point suggestion)
        (mezzotint--suggestion-end suggestion) (mezzotint--suggestion-masked suggestion)))

(defun mezzotint--draw ()
  "Draw `mezzotint--shown'."
  (let* ((point (mezzotint--suggestion-point mezzotint--shown))
         (text (mezzotint--visible mezzotint--shown)))
    (unless mezzotint--overlay (setq mezzotint--overlay (make-overlay point point nil t nil)))
    (move-overlay mezzotint--overlay point point (current-buffer))
    (unless (string-empty-p text) (put-text-property 0 1 'cursor t text))
    (overlay-put mezzotint--overlay 'after-string text)))

(defun mezzotint--visible (suggestion)
  "The text of SUGGESTION with faces, without what stands behind point already."
  (let* ((text (propertize (mezzotint--suggestion-text suggestion) 'face 'mezzotint-ghost))
         (line-end (or (string-search "\n" text) (length text)))
         (replaced (buffer-substring-no-properties (mezzotint--suggestion-point suggestion)
                                                   (mezzotint--suggestion-end suggestion)))
         (same 0))
    (dolist (span (mezzotint--suggestion-masked suggestion))
      (put-text-property (car span) (min (cdr span) (length text)) 'face 'mezzotint-mask text))
    (while (and (< same (length replaced)) (< same line-end)
                (eq (aref text (- line-end same 1)) (aref replaced (- (length replaced) same 1))))
      (setq same (1+ same)))
    (concat (substring text 0 (- line-end same)) (substring text line-end))))

(defun mezzotint--follow ()
  "Move the suggestion on if its text was typed; else clear it and return nil."
  (when-let* ((suggestion mezzotint--shown))
    (let* ((from (mezzotint--suggestion-point suggestion))
           (typed (and (<= from (point)) (buffer-substring-no-properties from (point))))
           (text (mezzotint--suggestion-text suggestion)))
      (if (and typed (string-prefix-p typed text) (< (length typed) (length text))
               (= (- (buffer-size) (length typed)) (cdr (mezzotint--suggestion-tick suggestion))))
          (let ((n (length typed)) (new (mezzotint--copy suggestion)))
            (setf (mezzotint--suggestion-point new) (point)
                  (mezzotint--suggestion-end new) (+ (mezzotint--suggestion-end suggestion) n)
                  (mezzotint--suggestion-text new) (substring text n)
                  (mezzotint--suggestion-masked new)
                  (cl-loop for (a . b) in (mezzotint--suggestion-masked suggestion)
                           when (> b n) collect (cons (max 0 (- a n)) (- b n)))
                  (mezzotint--suggestion-items new)
                  (cl-loop for item in (mezzotint--suggestion-items suggestion)
                           when (string-prefix-p typed item) collect (substring item n))
                  (mezzotint--suggestion-tick new) (mezzotint--tick-now))
            (mezzotint--show new)
            t)
        (mezzotint-clear)
        nil))))

;;;; Asking

(defun mezzotint--tick-now ()
  "What the buffer is like: its tick and its size."
  (cons (buffer-chars-modified-tick) (buffer-size)))

(defun mezzotint--after-command ()
  "Follow what was typed, and ask after a change."
  (let ((tick (buffer-chars-modified-tick)))
    (cond ((not (equal tick mezzotint--tick))
           (setq mezzotint--tick tick)
           (mezzotint--follow)
           (mezzotint--ask-soon))
          (t (when (and mezzotint--shown (/= (point) (mezzotint--suggestion-point mezzotint--shown)))
               (mezzotint-clear))
             (mezzotint--rest-soon)))))

(defun mezzotint--rest-soon ()
  "Say where point rests once it has done so for a while."
  (when mezzotint--resting (cancel-timer mezzotint--resting))
  (setq mezzotint--resting
        (run-with-idle-timer mezzotint--rest-delay nil #'mezzotint--rest (current-buffer))))

(defun mezzotint--rest (buffer)
  "Have the server read what stands at point, if BUFFER is the current one.
Who types there next need not wait."
  (when-let* (((eq buffer (current-buffer)))
              (mezzotint-mode)
              ((not (equal mezzotint--rested (point))))
              (server (mezzotint--server)))
    (setq mezzotint--rested (point))
    (eglot--signal-textDocument/didChange)
    (jsonrpc-notify server :mezzotint/didMove (eglot--TextDocumentPositionParams))))

(defun mezzotint--ask-soon ()
  "Ask after `mezzotint-idle-delay'."
  (when mezzotint--timer (cancel-timer mezzotint--timer))
  (if (zerop mezzotint-idle-delay) (mezzotint--ask 2)
    (setq mezzotint--timer
          (run-with-timer mezzotint-idle-delay nil #'mezzotint--ask-in (current-buffer)))))

(defun mezzotint--ask-in (buffer)
  "Ask in BUFFER if it is still there."
  (when (buffer-live-p buffer) (with-current-buffer buffer (mezzotint--ask 2))))

(defun mezzotint--ask (kind &optional then)
  "Ask for a suggestion at point.
KIND is 2 for an automatic request and 1 for one made by hand; THEN is called
after the answer to the latter."
  (when-let* ((server (mezzotint--server))
              ((not buffer-read-only))
              ((not (mezzotint--popup-p))))
    (let ((buffer (current-buffer)) (number (cl-incf mezzotint--asked))
          (tick (mezzotint--tick-now)) (point (point)))
      (setq mezzotint--invoked (and then t))
      (eglot--signal-textDocument/didChange)
      (jsonrpc-async-request
       server :textDocument/inlineCompletion
       (append (eglot--TextDocumentPositionParams)
               `(:context (:triggerKind ,kind) :workDoneToken ,number))
       :success-fn (lambda (answer)
                     (when (mezzotint--current-p buffer number tick point)
                       (with-current-buffer buffer
                         (setq mezzotint--invoked nil)
                         (mezzotint--answer answer)
                         (when then (funcall then)))))
       :error-fn #'ignore
       :timeout-fn #'ignore))))

(defun mezzotint--current-p (buffer number tick point)
  "Whether BUFFER is as it was at request NUMBER: TICK and POINT."
  (and (buffer-live-p buffer)
       (with-current-buffer buffer
         (and mezzotint-mode (= number mezzotint--asked) (= point (point))
              (equal tick (mezzotint--tick-now))))))

(defun mezzotint--answer (answer)
  "Show the items of ANSWER."
  (when answer
    (let* ((items (if (listp answer) (plist-get answer :items) answer))
           (texts (mapcar (lambda (item) (plist-get item :insertText)) items)))
      (if (null texts) (mezzotint-clear)
        (mezzotint--show (mezzotint--here (plist-get (elt items 0) :range) (car texts) nil texts))
        (jsonrpc-notify (mezzotint--server) :mezzotint/didShow nil)))))

(defun mezzotint--here (range text masked items)
  "A suggestion at point: TEXT for RANGE, with MASKED spans and ITEMS."
  (make-mezzotint--suggestion
   :text text :point (point) :masked masked :items items :index 0 :tick (mezzotint--tick-now)
   :end (max (point) (cdr (mezzotint--range-region range)))))

(defun mezzotint--chars (text units)
  "Characters of TEXT that UNITS of UTF-16 are."
  (let ((at 0) (chars 0))
    (while (and (< at units) (< chars (length text)))
      (setq at (+ at (if (> (aref text chars) #xffff) 2 1)) chars (1+ chars)))
    chars))

(cl-defmethod eglot-handle-notification
  ((_server mezzotint-server) (_method (eql mezzotint/draft)) &key token uri range text masked &allow-other-keys)
  "Draw a draft: TEXT for RANGE of URI, MASKED spans of it undecided.
TOKEN is the number of its request."
  (when-let* ((buffer (find-buffer-visiting (mezzotint--uri-to-path uri))))
    (with-current-buffer buffer
      (when (and mezzotint-mode (eql token mezzotint--asked) (not mezzotint--invoked)
                 (= (point) (cdr (mezzotint--range-region
                                  (list :start (plist-get range :start)
                                        :end (plist-get range :start))))))
        (mezzotint--show
         (mezzotint--here range text
                          (mapcar (lambda (span) (cons (mezzotint--chars text (elt span 0))
                                                       (mezzotint--chars text (elt span 1))))
                                  masked)
                          (list text)))))))

;;;; Commands on the suggestion

(defun mezzotint--insert (length kind)
  "Accept LENGTH characters of the suggestion; KIND is for the server's statistics."
  (when-let* ((suggestion mezzotint--shown))
    (let* ((text (mezzotint--suggestion-text suggestion))
           (whole (>= length (length text)))
           (end (mezzotint--suggestion-end suggestion))
           (rest (mezzotint--copy suggestion)))
      (mezzotint-clear)
      (undo-boundary)
      (when whole (delete-region (point) end))
      (insert (substring text 0 length))
      (undo-boundary)
      (setq mezzotint--tick (buffer-chars-modified-tick))
      (when-let* ((server (mezzotint--server)))
        (jsonrpc-notify server :mezzotint/didAccept (list :kind kind)))
      (unless whole
        (setf (mezzotint--suggestion-text rest) (substring text length)
              (mezzotint--suggestion-point rest) (point)
              (mezzotint--suggestion-end rest) (+ end length)
              (mezzotint--suggestion-masked rest) nil
              (mezzotint--suggestion-items rest) (list (substring text length))
              (mezzotint--suggestion-tick rest) (mezzotint--tick-now))
        (mezzotint--show rest))
      (mezzotint--ask-soon))))

(defun mezzotint-accept ()
  "Accept all of the suggestion."
  (interactive)
  (when mezzotint--shown
    (mezzotint--insert (length (mezzotint--suggestion-text mezzotint--shown)) "full")))

(defun mezzotint-accept-word ()
  "Accept the next word of the suggestion, with the spaces before it."
  (interactive)
  (when mezzotint--shown
    (string-match "\\`[ \t\n]*\\(?:[[:alnum:]_]+\\|[^[:alnum:]_ \t\n]+\\)"
                  (mezzotint--suggestion-text mezzotint--shown))
    (mezzotint--insert (match-end 0) "word")))

(defun mezzotint-accept-line ()
  "Accept the suggestion up to the end of its next line."
  (interactive)
  (when mezzotint--shown
    (let ((text (mezzotint--suggestion-text mezzotint--shown)))
      (mezzotint--insert (or (string-search "\n" text 1) (length text)) "line"))))

(defun mezzotint--turn (by)
  "Show the candidate BY further."
  (when-let* ((suggestion mezzotint--shown) (items (mezzotint--suggestion-items suggestion)))
    (let* ((index (mod (+ (mezzotint--suggestion-index suggestion) by) (length items)))
           (new (mezzotint--copy suggestion)))
      (setf (mezzotint--suggestion-index new) index
            (mezzotint--suggestion-text new) (elt items index)
            (mezzotint--suggestion-masked new) nil)
      (mezzotint--show new))))

(defun mezzotint--cycle (by)
  "Show the candidate BY further; ask for candidates first if there is but one."
  (when mezzotint--shown
    (if (cdr (mezzotint--suggestion-items mezzotint--shown)) (mezzotint--turn by)
      (mezzotint--ask 1 (lambda () (mezzotint--turn by))))))

(defun mezzotint-next ()
  "Show the next candidate."
  (interactive)
  (mezzotint--cycle 1))

(defun mezzotint-previous ()
  "Show the previous candidate."
  (interactive)
  (mezzotint--cycle -1))

(defun mezzotint-complete ()
  "Ask for a suggestion by hand: in comments none comes by itself."
  (interactive)
  (mezzotint--ask 1 #'ignore))

(defun mezzotint-dismiss ()
  "Take the suggestion away until the next change."
  (interactive)
  (cl-incf mezzotint--asked)
  (mezzotint-clear))

;;;; The mode

(defvar-keymap mezzotint-active-map
  :doc "Keys while a suggestion is on screen."
  "TAB" #'mezzotint-accept
  "<tab>" #'mezzotint-accept
  "M-<right>" #'mezzotint-accept-word
  "M-f" #'mezzotint-accept-word
  "M-<down>" #'mezzotint-accept-line
  "M-n" #'mezzotint-next
  "M-p" #'mezzotint-previous
  "C-g" #'mezzotint-dismiss)

(defvar mezzotint--emulation `((mezzotint--shown . ,mezzotint-active-map))
  "Makes the keys win over those of other modes, while they mean something.")

;;;###autoload
(define-minor-mode mezzotint-mode
  "Show suggestions of the Mezzotint server as ghost text."
  :lighter (:eval (mezzotint--lighter))
  (cond (mezzotint-mode
         (add-to-list 'emulation-mode-map-alists 'mezzotint--emulation)
         (setq mezzotint--tick (buffer-chars-modified-tick))
         (add-hook 'completion-preview-active-mode-hook #'mezzotint--yield nil t)
         (add-hook 'post-command-hook #'mezzotint--after-command nil t))
        (t (remove-hook 'post-command-hook #'mezzotint--after-command t)
           (remove-hook 'completion-preview-active-mode-hook #'mezzotint--yield t)
           (mezzotint-clear))))

(add-hook 'eglot-managed-mode-hook #'mezzotint--managed)

(defun mezzotint-unload-function ()
  "Undo the loading of this file."
  (remove-hook 'eglot-managed-mode-hook #'mezzotint--managed)
  (setq emulation-mode-map-alists (delq 'mezzotint--emulation emulation-mode-map-alists))
  (dolist (buffer (buffer-list))
    (with-current-buffer buffer (when mezzotint-mode (mezzotint-mode -1))))
  nil)

(provide 'mezzotint)
;;; mezzotint.el ends here
