; What the mask asks of a C++ tree.
(translation_unit) @block
(compound_statement) @block
(declaration_list) @block
(field_declaration_list) @block
(enumerator_list) @block
(case_statement) @block
(comment) @comment
(preproc_arg) @opaque
(string_literal) @string
(raw_string_literal) @string
(char_literal) @string
(preproc_include) @import
(using_declaration) @import
; Where code is broken the word that begins its line must do.
["#include" "using"] @import.word
