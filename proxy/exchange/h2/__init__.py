"""HTTP/2: the exchange of a stream beside that of a connection. Sides, plans and passages are the same."""
