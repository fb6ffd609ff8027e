; What the mask asks of a CSS tree.
(stylesheet) @block
(block) @block
(keyframe_block_list) @block
(comment) @comment
(string_value) @string
(import_statement) @import
; Where code is broken the word that begins its line must do.
"@import" @import.word
