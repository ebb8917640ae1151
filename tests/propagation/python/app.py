"""A Flask application that makes one call for each request, traced by the SDK that `SDK` names and nothing else.

PORT: where it listens; CALLS: what it calls.
"""

import logging
import os

SDK = os.environ["SDK"]
if SDK == "ddtrace":
    import ddtrace.auto  # noqa: F401 (it instruments what is imported after it)

import requests  # noqa: E402
from flask import Flask  # noqa: E402

app = Flask("propagation")
logging.disable()  # of exporters that reach nobody

if SDK == "opentelemetry":
    from opentelemetry import trace
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())  # the propagators are those of OTEL_PROPAGATORS
    FlaskInstrumentor().instrument_app(app)
    RequestsInstrumentor().instrument()
elif SDK == "sentry":
    import sentry_sdk

    sentry_sdk.init(dsn="http://public@127.0.0.1:9/1", traces_sample_rate=1.0)
elif SDK == "elastic":
    from elasticapm.contrib.flask import ElasticAPM

    app.config["ELASTIC_APM"] = {"DISABLE_SEND": True, "SERVICE_NAME": "propagation", "CENTRAL_CONFIG": False}
    ElasticAPM(app)


@app.get("/")
def root() -> str:
    return requests.get(os.environ["CALLS"], timeout=10).text


app.run("127.0.0.1", int(os.environ["PORT"]))
