// A server and a client of Go's own HTTP/2 without TLS: `gohttp serve ADDRESS NAME`, `gohttp call URL KEY`.
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
)

func unencrypted() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

func serve(address, name string) {
	handler := http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		answer.Header().Set("Trailer", "X-Size")
		answer.Header().Set("X-Key", request.Header.Get("baggage"))
		fmt.Fprintf(answer, "%s %s ", name, request.Proto)
		answer.(http.Flusher).Flush()
		answer.Write(body)
		answer.Header().Set("X-Size", fmt.Sprint(len(body)))
	})
	server := http.Server{Addr: address, Handler: handler, Protocols: unencrypted()}
	log.Fatal(server.ListenAndServe())
}

func call(client *http.Client, url, key string, size int) error {
	sent := bytes.Repeat([]byte("g"), size)
	request, err := http.NewRequest("POST", url, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	name := "base"
	if key != "" {
		request.Header.Set("baggage", "routing-key="+key)
		name = "shadow"
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if want := name + " HTTP/2.0 " + string(sent); string(body) != want {
		return fmt.Errorf("%d bytes that begin with %.60q", len(body), body)
	}
	if got := answer.Trailer.Get("X-Size"); got != fmt.Sprint(size) {
		return fmt.Errorf("trailer %q for %d bytes", got, size)
	}
	return nil
}

func main() {
	if os.Args[1] == "serve" {
		serve(os.Args[2], os.Args[3])
	}
	client := &http.Client{Transport: &http.Transport{Protocols: unencrypted()}}
	var all sync.WaitGroup
	for number := range 300 {
		all.Add(1)
		go func() {
			defer all.Done()
			key, size := "", number*500
			if number%2 == 1 {
				key = os.Args[3]
			}
			if err := call(client, os.Args[2], key, size); err != nil {
				log.Fatalf("call %d: %v", number, err)
			}
		}()
	}
	all.Wait()
	fmt.Println("300 calls")
}
