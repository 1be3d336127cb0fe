// Calls of gRPC with grpc-go: grpc_client URL CA SECONDS, over TLS for https and with prior knowledge for http. It needs
// golang-google-grpc-dev.
//
// One call streams both ways from the beginning to the end; beside it go short ones of each of the four kinds, one after the
// other in each of some goroutines, all on one connection. No call is tried again.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

const (
	inTurn   = 4
	deadline = 15 * time.Second
)

// raw is a codec of messages without a schema: each is a *[]byte.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message interface{}) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message interface{}) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

type tally struct {
	sync.Mutex
	Requests    int      `json:"requests"`
	Messages    int      `json:"messages"`
	Errors      []string `json:"errors"`
	Connections int      `json:"connections"`
	GoAways     int      `json:"goaways"`
}

func (t *tally) count(messages int, err error) {
	t.Lock()
	defer t.Unlock()
	t.Requests++
	t.Messages += messages
	if err != nil {
		t.Errors = append(t.Errors, err.Error())
	}
}

// frames is a connection as grpc-go reads it, without TLS; it counts the GOAWAY frames that come.
type frames struct {
	net.Conn
	tally *tally
	head  []byte
	left  int
}

func (f *frames) Read(into []byte) (int, error) {
	n, err := f.Conn.Read(into)
	for data := into[:n]; len(data) > 0; {
		if f.left > 0 {
			skipped := f.left
			if skipped > len(data) {
				skipped = len(data)
			}
			f.left -= skipped
			data = data[skipped:]
			continue
		}
		f.head, data = append(f.head, data[0]), data[1:]
		if len(f.head) == 9 {
			f.left = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
			if f.head[3] == 7 {
				f.tally.Lock()
				f.tally.GoAways++
				f.tally.Unlock()
			}
			f.head = f.head[:0]
		}
	}
	return n, err
}

// watched makes TLS whose inside is seen by frames.
type watched struct {
	credentials.TransportCredentials
	tally *tally
}

func (w watched) ClientHandshake(ctx context.Context, name string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, name, conn)
	if err != nil {
		return nil, nil, err
	}
	return &frames{Conn: conn, tally: w.tally}, info, nil
}

func (w watched) Clone() credentials.TransportCredentials {
	return watched{w.TransportCredentials.Clone(), w.tally}
}

func dial(base *url.URL, ca string, sum *tally) (*grpc.ClientConn, error) {
	isTLS := base.Scheme == "https"
	connect := func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		sum.Lock()
		sum.Connections++
		sum.Unlock()
		if isTLS {
			return conn, nil
		}
		return &frames{Conn: conn, tally: sum}, nil
	}
	options := []grpc.DialOption{grpc.WithContextDialer(connect), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}))}
	if !isTLS {
		return grpc.Dial(base.Host, append(options, grpc.WithInsecure())...)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	inside := watched{credentials.NewTLS(&tls.Config{RootCAs: roots}), sum}
	return grpc.Dial(base.Host, append(options, grpc.WithTransportCredentials(inside))...)
}

func open(ctx context.Context, conn *grpc.ClientConn, method string) (grpc.ClientStream, error) {
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	return conn.NewStream(ctx, both, "/bench.Echo/"+method)
}

// exchange sends all messages at once and gives what comes back for them.
func exchange(conn *grpc.ClientConn, method string, messages [][]byte) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	stream, err := open(ctx, conn, method)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		// the error of a stream that has ended is what is received
		if stream.SendMsg(&messages[i]) != nil {
			break
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	var got [][]byte
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err == io.EOF {
			return got, nil
		} else if err != nil {
			return got, err
		}
		got = append(got, message)
	}
}

// chat sends numbers until then, and gets each back before it sends the next one.
func chat(conn *grpc.ClientConn, until time.Time, pause time.Duration) (said int, err error) {
	ctx, cancel := context.WithDeadline(context.Background(), until.Add(deadline))
	defer cancel()
	stream, err := open(ctx, conn, "Chat")
	if err != nil {
		return 0, err
	}
	for ; time.Now().Before(until); said++ {
		number, heard := []byte(strconv.Itoa(said)), []byte(nil)
		if err := stream.SendMsg(&number); err != nil && err != io.EOF {
			return said, err
		}
		if err := stream.RecvMsg(&heard); err != nil {
			return said, fmt.Errorf("after %d messages: %w", said, err)
		}
		if !bytes.Equal(heard, number) {
			return said, fmt.Errorf("%q instead of %q", heard, number)
		}
		time.Sleep(pause)
	}
	if err := stream.CloseSend(); err != nil {
		return said, err
	}
	var more []byte
	if err := stream.RecvMsg(&more); err != io.EOF {
		return said, fmt.Errorf("%q and %v at the end", more, err)
	}
	if all := strings.Join(stream.Trailer().Get("said"), ","); all != "all" {
		return said, fmt.Errorf("a trailer with %q", all)
	}
	return said, nil
}

// called names a call that failed.
func called(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

func shortCalls(conn *grpc.ClientConn, until time.Time, sum *tally) {
	var parts, numbers [][]byte
	for number := 0; number < 20; number++ {
		parts = append(parts, bytes.Repeat([]byte("x"), 1000))
		numbers = append(numbers, []byte(fmt.Sprintf("it %d", number)))
	}
	for time.Now().Before(until) {
		for _, call := range []struct {
			method     string
			send, want [][]byte
		}{
			{"Unary", [][]byte{[]byte("ping")}, [][]byte{[]byte("ping")}},
			{"Upload", parts, [][]byte{bytes.Join(parts, []byte(","))}},
			{"Download", [][]byte{[]byte("it")}, numbers},
		} {
			got, err := exchange(conn, call.method, call.send)
			if err == nil && !bytes.Equal(bytes.Join(got, []byte("\n")), bytes.Join(call.want, []byte("\n"))) {
				err = fmt.Errorf("%.80q", got)
			}
			sum.count(1, called(call.method, err))
		}
		said, err := chat(conn, time.Now().Add(300*time.Millisecond), 20*time.Millisecond)
		sum.count(said, called("short Chat", err))
	}
}

func main() {
	base, err := url.Parse(os.Args[1])
	if err != nil {
		panic(err)
	}
	seconds, err := strconv.ParseFloat(os.Args[3], 64)
	if err != nil {
		panic(err)
	}
	sum, until := &tally{Errors: []string{}}, time.Now().Add(time.Duration(seconds*float64(time.Second)))
	conn, err := dial(base, os.Args[2], sum)
	if err != nil {
		panic(err)
	}
	var all sync.WaitGroup
	for number := 0; number <= inTurn; number++ {
		all.Add(1)
		go func(lasts bool) {
			defer all.Done()
			if !lasts {
				shortCalls(conn, until, sum)
				return
			}
			said, err := chat(conn, until, 50*time.Millisecond)
			sum.count(said, called("Chat", err))
		}(number == 0)
	}
	all.Wait()
	conn.Close()
	sum.Lock()
	defer sum.Unlock()
	json.NewEncoder(os.Stdout).Encode(sum)
}
