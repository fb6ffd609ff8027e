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
                   ((symbol-function 'jsonrpc-notify) #'ignore))
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

(ert-deftest mezzotint-tests-who-asks-by-hand-says-so ()
  (mezzotint-tests--with-file
    (let (asked)
      (cl-letf (((symbol-function 'eglot--signal-textDocument/didChange) #'ignore)
                ((symbol-function 'eglot--TextDocumentPositionParams) (lambda () nil))
                ((symbol-function 'jsonrpc-async-request)
                 (lambda (_server _method params &rest _) (push (plist-get params :context) asked))))
        (mezzotint--ask-soon)
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

(provide 'mezzotint-tests)
;;; mezzotint-tests.el ends here
