"""Serving: a classifier on the network. `app.build_app` puts it together, `server.run` runs it."""
