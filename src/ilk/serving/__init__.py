"""Serving: a classifier behind HTTP. `app.build_app` builds it, `server.Server` runs it."""
