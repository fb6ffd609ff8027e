"""From a position to a request, and from a draft to a suggestion."""
