;;; mezzotint-tests.el --- What mezzotint.el does without a server  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; Run by tests/e2e/test_emacs.py, once as it is and once with MEZZOTINT_EGLOT=1.12:
;; then the names are those of that eglot, which Emacs 29 has.
;;
;;     emacs -Q --batch -L . -l mezzotint-tests -f ert-run-tests-batch-and-exit

;;; Code:

(require 'ert)
(require 'eglot)

(when (equal (getenv "MEZZOTINT_EGLOT") "1.12")
  (dolist (names '((eglot--range-region . eglot-range-region) (eglot--uri-to-path . eglot-uri-to-path)))
    (defalias (car names) (indirect-function (cdr names)))
    (fmakunbound (cdr names))))

(require 'mezzotint)

(defconst mezzotint-tests--range
  '(:start (:line 0 :character 8) :end (:line 0 :character 8))
  "Where the suggestions of these tests belong: behind \"total = \".")

(defmacro mezzotint-tests--with-file (&rest body)
  "Run BODY in a buffer that visits a file, on, with a server that takes all."
  (declare (indent 0))
  `(let* ((file (make-temp-file "mezzotint" nil ".txt" "total = "))
          (buffer (find-file-noselect file)))
     (unwind-protect
         (cl-letf (((symbol-function 'mezzotint--server) (lambda () 'server))
                   ((symbol-function 'jsonrpc-notify) #'ignore)
                   ((symbol-function 'mezzotint--ask-soon) #'ignore))
           (with-current-buffer buffer
             (goto-char (point-max))
             (setq mezzotint-mode t)
             ,@body))
       (with-current-buffer buffer (set-buffer-modified-p nil))
       (kill-buffer buffer)
       (delete-file file))))

(defun mezzotint-tests--ghost ()
  "The text on screen that is not in the buffer."
  (substring-no-properties (overlay-get mezzotint--overlay 'after-string)))

(defun mezzotint-tests--suggest (text &rest more)
  "Show TEXT at point; MORE are further slots of the suggestion."
  (mezzotint--show (apply #'make-mezzotint--suggestion
                          (append more (list :text text :point (point) :end (point) :items (list text)
                                             :index 0 :tick (mezzotint--tick-now))))))

(defun mezzotint-tests--type (text)
  "Insert TEXT as a user would, and follow it."
  (insert text)
  (mezzotint--after-command))

(defun mezzotint-tests--server (class)
  "A server object of CLASS without a process."
  (let ((server (make-instance class :name "test" :process (make-pipe-process :name "test" :noquery t))))
    (setf (eglot--project server) (cons 'transient default-directory))
    server))

(ert-deftest mezzotint-tests-an-answer-is-drawn ()
  (mezzotint-tests--with-file
    (mezzotint--answer `(:items [(:insertText "sum(prices)" :range ,mezzotint-tests--range)]))
    (should (equal (mezzotint-tests--ghost) "sum(prices)"))))

(ert-deftest mezzotint-tests-a-draft-is-drawn-and-what-may-change-is-shaded ()
  (mezzotint-tests--with-file
    (eglot-handle-notification
     (mezzotint-tests--server 'mezzotint-server) 'mezzotint/draft
     :token mezzotint--asked :uri (concat "file://" buffer-file-name)
     :range mezzotint-tests--range :text "sum(items)" :masked [[4 9]])
    (should (equal (mezzotint-tests--ghost) "sum(items)"))
    (should (equal (get-text-property 5 'face (overlay-get mezzotint--overlay 'after-string)) 'mezzotint-mask))))

(ert-deftest mezzotint-tests-a-reason-is-shown-in-its-buffer-only ()
  (mezzotint-tests--with-file
    (let ((mezzotint--status nil) (mezzotint--reason nil) (server (mezzotint-tests--server 'mezzotint-server)))
      (cl-flet ((say (uri kind state)
                  (eglot-handle-notification server 'mezzotint/status
                                             :state state :message "why" :kind kind :uri uri :reason "secret")
                  (list (substring-no-properties (mezzotint--lighter))
                        (get-text-property 0 'help-echo (mezzotint--lighter)))))
        (should (equal (say (mezzotint--uri) "Inactive" "idle") '(" Mz[off]" "Mezzotint: why")))
        (should (equal (car (say "file:///other" "Inactive" "idle")) " Mz[idle]"))
        (should (equal (car (say "" "Inactive" "idle")) " Mz[off]"))
        (should (equal (car (say (mezzotint--uri) "Warning" "idle")) " Mz[warning]"))
        (should (equal (car (say "" "Error" "error")) " Mz[error]"))
        (should (equal (car (say "" "Normal" "denoising")) " Mz[denoising]"))))))

(ert-deftest mezzotint-tests-who-asks-by-hand-says-so ()
  (mezzotint-tests--with-file
    (let (asked)
      (cl-letf (((symbol-function 'eglot--signal-textDocument/didChange) #'ignore)
                ((symbol-function 'eglot--TextDocumentPositionParams) (lambda () nil))
                ((symbol-function 'jsonrpc-async-request)
                 (lambda (_server _method params &rest _) (push (plist-get params :context) asked))))
        (mezzotint--ask-in (current-buffer))
        (mezzotint-complete)
        (should (equal asked '((:triggerKind 1) (:triggerKind 2))))))))

(ert-deftest mezzotint-tests-only-mezzotint-is-told-of-inline-completion ()
  (cl-flet ((told (class)
              (plist-member (plist-get (eglot-client-capabilities (mezzotint-tests--server class)) :textDocument)
                            :inlineCompletion)))
    (should (told 'mezzotint-server))
    (should-not (told 'eglot-lsp-server))))

(ert-deftest mezzotint-tests-the-server-is-started-away-from-the-project ()
  (let* ((default-directory temporary-file-directory) folder)
    (make-instance 'mezzotint-server :name "test"
                   :process (lambda () (setq folder default-directory)
                              (make-pipe-process :name "test" :noquery t)))
    (should (equal folder data-directory))))

(ert-deftest mezzotint-tests-units-of-utf-16-are-counted-as-characters ()
  (should (equal (mapcar (lambda (units) (mezzotint--chars "a🜂bc" units)) '(0 1 3 4 5 99)) '(0 1 2 3 4 4))))

(ert-deftest mezzotint-tests-what-stands-behind-point-is-not-drawn-twice ()
  (mezzotint-tests--with-file
    (save-excursion (insert "))"))
    (mezzotint-tests--suggest "f(a))" :end (+ (point) 2))
    (should (equal (mezzotint-tests--ghost) "f(a"))
    (mezzotint-tests--suggest "f(a))\nb))" :end (+ (point) 2))
    (should (equal (mezzotint-tests--ghost) "f(a\nb))"))))

(ert-deftest mezzotint-tests-typing-what-it-says-leaves-the-rest ()
  (mezzotint-tests--with-file
    (mezzotint-tests--suggest "value" :masked '((1 . 2) (3 . 5)) :items '("value" "vast" "other"))
    (mezzotint-tests--type "va")
    (should (equal (mezzotint-tests--ghost) "lue"))
    (should (equal (mezzotint--suggestion-masked mezzotint--shown) '((1 . 3))))
    (should (equal (mezzotint--suggestion-items mezzotint--shown) '("lue" "st")))))

(ert-deftest mezzotint-tests-typing-something-else-or-all-of-it-takes-it-away ()
  (dolist (typed '("b" "value"))
    (mezzotint-tests--with-file
      (mezzotint-tests--suggest "value")
      (mezzotint-tests--type typed)
      (should-not mezzotint--shown)
      (should-not (overlay-buffer mezzotint--overlay)))))

(ert-deftest mezzotint-tests-a-change-elsewhere-or-moving-takes-it-away ()
  (mezzotint-tests--with-file
    (mezzotint-tests--suggest "value")
    (save-excursion (goto-char (point-min)) (insert "x"))
    (mezzotint--after-command)
    (should-not mezzotint--shown)
    (mezzotint-tests--suggest "value")
    (backward-char)
    (mezzotint--after-command)
    (should-not mezzotint--shown)))

(ert-deftest mezzotint-tests-accepting-all-replaces-what-it-stands-for ()
  (mezzotint-tests--with-file
    (save-excursion (insert "old)"))
    (mezzotint-tests--suggest "new)" :end (+ (point) 4))
    (mezzotint-accept)
    (should (equal (buffer-string) "total = new)"))
    (should-not mezzotint--shown)))

(ert-deftest mezzotint-tests-accepting-words-and-lines-goes-through-it ()
  (mezzotint-tests--with-file
    (mezzotint-tests--suggest " sum(a)\n\n  b")
    (let (seen)
      (dolist (accept '(mezzotint-accept-word mezzotint-accept-word mezzotint-accept-line mezzotint-accept-line))
        (funcall accept)
        (push (buffer-substring 8 (point-max)) seen))
      (should (equal (reverse seen) '("  sum" "  sum(" "  sum(a)" "  sum(a)\n")))
      (should (equal (mezzotint-tests--ghost) "\n  b")))))

(ert-deftest mezzotint-tests-cycling-goes-round ()
  (mezzotint-tests--with-file
    (mezzotint-tests--suggest "a" :items '("a" "b" "c"))
    (should (equal (mapcar (lambda (turn) (funcall turn) (mezzotint-tests--ghost))
                           '(mezzotint-next mezzotint-next mezzotint-next mezzotint-previous))
                   '("b" "c" "a" "c")))))

(ert-deftest mezzotint-tests-nothing-is-drawn-under-a-popup ()
  (mezzotint-tests--with-file
    (let ((completion-in-region-mode t))
      (mezzotint-tests--suggest "value")
      (should-not mezzotint--shown))))

(ert-deftest mezzotint-tests-an-answer-for-another-text-is-dropped ()
  (mezzotint-tests--with-file
    (let ((tick (mezzotint--tick-now)))
      (should (mezzotint--current-p (current-buffer) mezzotint--asked tick (point)))
      (insert "x")
      (should-not (mezzotint--current-p (current-buffer) mezzotint--asked tick (point)))
      (should-not (mezzotint--current-p (current-buffer) (1- mezzotint--asked) (mezzotint--tick-now) (point))))))

(provide 'mezzotint-tests)
;;; mezzotint-tests.el ends here
