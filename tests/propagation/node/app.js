// An application that makes one call for each request, traced by OpenTelemetry with the propagator that PROPAGATOR names.
// PORT: where it listens; CALLS: what it calls.
"use strict";

const { W3CTraceContextPropagator, W3CBaggagePropagator, CompositePropagator } = require("@opentelemetry/core");
const { B3Propagator, B3InjectEncoding } = require("@opentelemetry/propagator-b3");
const { JaegerPropagator } = require("@opentelemetry/propagator-jaeger");
const { AWSXRayPropagator } = require("@opentelemetry/propagator-aws-xray");
const { OTTracePropagator } = require("@opentelemetry/propagator-ot-trace");
const { NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");
const { registerInstrumentations } = require("@opentelemetry/instrumentation");
const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");

const propagators = {
  tracecontext: () => new W3CTraceContextPropagator(),
  "tracecontext,baggage": () =>
    new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] }),
  b3: () => new B3Propagator(),
  b3multi: () => new B3Propagator({ injectEncoding: B3InjectEncoding.MULTI_HEADER }),
  jaeger: () => new JaegerPropagator(),
  xray: () => new AWSXRayPropagator(),
  ottrace: () => new OTTracePropagator(),
};
new NodeTracerProvider().register({ propagator: propagators[process.env.PROPAGATOR]() });
registerInstrumentations({ instrumentations: [new HttpInstrumentation()] });

const http = require("http");
http
  .createServer((request, answer) => {
    http.get(process.env.CALLS, (called) => called.pipe(answer)).on("error", () => answer.writeHead(502).end());
  })
  .listen(Number(process.env.PORT), "127.0.0.1");
