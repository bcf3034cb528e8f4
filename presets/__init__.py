"""One commented TOML per delivery, and the loader that checks them."""
