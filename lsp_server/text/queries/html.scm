; What the mask asks of an HTML tree.
(document) @block
(element) @block
(comment) @comment
(quoted_attribute_value) @string
