// An application that makes one call for each request, traced by OpenTelemetry with the propagators of OTEL_PROPAGATORS.
// PORT: where it listens; CALLS: what it calls.
package main

import (
	"io"
	"net/http"
	"os"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	otel.SetTracerProvider(trace.NewTracerProvider())
	otel.SetTextMapPropagator(autoprop.NewTextMapPropagator())
	client := http.Client{Transport: otelhttp.NewTransport(http.DefaultTransport)}
	handler := http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		call, err := http.NewRequestWithContext(request.Context(), "GET", os.Getenv("CALLS"), nil)
		if err != nil {
			panic(err)
		}
		answered, err := client.Do(call)
		if err != nil {
			http.Error(answer, err.Error(), 502)
			return
		}
		defer answered.Body.Close()
		io.Copy(answer, answered.Body)
	})
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), otelhttp.NewHandler(handler, "served")))
}
