// Requests one after the other with Go's net/http: client URL CA SECONDS HTTP/2?
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	base, seconds, http2 := os.Args[1], os.Args[3], os.Args[4] == "h2"
	pem, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}
	if !http2 {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client := &http.Client{Transport: transport, Timeout: 15 * time.Second}
	length, _ := strconv.Atoi(seconds)
	until := time.Now().Add(time.Duration(length) * time.Second)
	requests, errors := 0, []string{}
	for time.Now().Before(until) {
		var response *http.Response
		if requests%5 == 4 {
			// without GetBody: net/http cannot send it again behind our back
			response, err = client.Post(base+"/upload", "text/plain", io.NopCloser(bytes.NewReader(make([]byte, 20000))))
		} else {
			response, err = client.Get(base + "/1k")
		}
		if err == nil {
			var body []byte
			body, err = io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode != 200 || len(body) != 1024 {
				err = fmt.Errorf("status %d, %d bytes", response.StatusCode, len(body))
			}
			if http2 != (response.ProtoMajor == 2) {
				err = fmt.Errorf("%s", response.Proto)
			}
		}
		if err != nil {
			errors = append(errors, err.Error())
			time.Sleep(20 * time.Millisecond)
		}
		requests++
		time.Sleep(5 * time.Millisecond)
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"requests": requests, "errors": errors})
}
