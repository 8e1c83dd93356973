"""The editor: `api` answers its requests, `src` is its page, `static` the built page."""
