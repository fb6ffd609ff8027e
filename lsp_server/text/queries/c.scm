; What the mask asks of a C tree.
(translation_unit) @block
(compound_statement) @block
(field_declaration_list) @block
(enumerator_list) @block
(case_statement) @block
(comment) @comment
(preproc_arg) @opaque
(string_literal) @string
(char_literal) @string
(preproc_include) @import
; Where code is broken the word that begins its line must do.
"#include" @import.word
