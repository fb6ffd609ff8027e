; What the mask asks of a Python tree. @block: its children are statements. @code: code inside a string; @code.bare ends
; with its last character, @code.whole is none where it is broken. @text: between tags. @opaque: not looked into.
(module) @block
(block) @block
(comment) @comment
(string) @string
(expression_statement . (string) @docstring .)
(interpolation) @code
(import_statement) @import
(import_from_statement) @import
(future_import_statement) @import
(decorator) @decorator
; Where code is broken the word that begins its line must do.
["import" "from"] @import.word
"@" @decorator.word
