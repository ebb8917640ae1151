"""The life of a sandbox: from what is wanted to what runs, and to what the sidecars know of it."""
