"""A small shop: five HTTP services that know nothing of Skycap.

    frontend --> users
             --> catalog --> users                for the customer's tier
             --> orders --> payments --> users    for the account to charge

Each forwards a different part of the tracing headers, as services of different age and language do, so that no
routing key would reach `users` through `catalog`, `orders` or `payments` by itself:

    frontend  everything, `baggage` too       catalog   `x-request-id` only
    orders    `traceparent` only              payments  B3 only

Every service is a program of its own: PORT says where it listens, NAME_URL where each service it calls is.
`users_v2.py`, `users_v3_buggy.py` and `users_v3_fixed.py` are what two engineers make of `users.py`.
"""
