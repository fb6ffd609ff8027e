; What the mask asks of a Go tree.
(source_file) @block
(block) @block
(statement_list) @block
(field_declaration_list) @block
(import_spec_list) @block
(comment) @comment
(interpreted_string_literal) @string
(raw_string_literal) @string
(rune_literal) @string
(import_declaration) @import
; Where code is broken the word that begins its line must do.
"import" @import.word
