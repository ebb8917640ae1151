"""The registry over HTTP. One table of operations makes the routes and the OpenAPI document."""
