"""The web page of a corpus: search, documents, and attribution of a pasted text, in any browser, without JavaScript.

In: an index that is open, and if wanted the trace of a run. Out: `serve`, which answers HTTP until it is ended, on this machine
alone unless its `host` says otherwise. Python's own http.server is under it, with limits of size and time around it.
"""

from llmjp_jax.search.web.application import Application
from llmjp_jax.search.web.server import Server, serve

__all__ = ["Application", "Server", "serve"]
