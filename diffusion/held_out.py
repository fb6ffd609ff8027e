"""The packages that evaluation cuts its holes from and training never sees, whole.

Rule: import names; small, well written, of the kinds that people write themselves. Changing this set makes figures
incomparable and needs a model trained anew.
"""

HELD_OUT = frozenset(
    "attr attrs click flask httpx httpcore jinja2 packaging pluggy requests rich starlette tqdm trio urllib3".split()
    + ["httpx2", "httpcore2"]  # successors that repeat four fifths of httpx and httpcore
)
