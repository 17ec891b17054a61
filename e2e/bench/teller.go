package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// teller tells watchers of config maps what was put, and does for that only what must be done with a write to each connection for each event: one frame,
// one TLS record, one system call. It has no objects, looks at no window and reads nothing more from a connection that watches.
type teller struct {
	// What an event has beside the object as it was put, so that it is as long as the real server's.
	padding []byte

	lock     sync.Mutex
	watchers []*tellerConn
	puts     chan []byte
}

// tellerConn is one connection, served by the goroutine that reads it; one that watches is left to the goroutine that tells.
type tellerConn struct {
	conn   net.Conn
	out    bytes.Buffer
	framer *http2.Framer
	stream uint32
}

// tell is the program that serves so.
func tell(args []string) error {
	if len(args) != 4 {
		return errors.New("usage: bench teller ADDRESS CERTIFICATE KEY PADDING")
	}
	padding, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(args[1], args[2])
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", args[0], &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}, SessionTicketsDisabled: true})
	if err != nil {
		return err
	}
	t := &teller{padding: bytes.Repeat([]byte(" "), padding), puts: make(chan []byte, 1000)}
	go t.tellAll()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := t.serve(conn); err != nil {
				_ = conn.Close()
			}
		}()
	}
}

// serve answers requests, one after the other, until one of them is a watch.
func (t *teller) serve(conn net.Conn) error {
	c := &tellerConn{conn: conn}
	// Frames are put together in memory, so that what belongs together is one write.
	c.framer = http2.NewFramer(&c.out, conn)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	// Room for all puts of a connection, given once.
	if err := errors.Join(c.framer.WriteSettings(), c.framer.WriteWindowUpdate(0, 1<<30)); err != nil {
		return err
	}
	var head *http2.MetaHeadersFrame
	var body []byte
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		complete := false
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if frame.IsAck() {
				continue
			}
			err = c.framer.WriteSettingsAck()
		case *http2.PingFrame:
			if frame.IsAck() {
				continue
			}
			err = c.framer.WritePing(true, frame.Data)
		case *http2.MetaHeadersFrame:
			head, body, complete = frame, nil, frame.StreamEnded()
		case *http2.DataFrame:
			body, complete = append(body, frame.Data()...), frame.StreamEnded()
		}
		if err != nil {
			return err
		}
		if !complete {
			if err := c.flush(); err != nil {
				return err
			}
			continue
		}
		c.stream = head.StreamID
		if strings.Contains(head.PseudoValue("path"), "watch=true") {
			if err := errors.Join(c.answerHead(), c.flush()); err != nil {
				return err
			}
			t.lock.Lock()
			t.watchers = append(t.watchers, c)
			t.lock.Unlock()
			return nil
		}
		if head.PseudoValue("method") == "PUT" {
			t.puts <- bytes.Clone(body)
		}
		if err := errors.Join(c.answerHead(), c.framer.WriteData(c.stream, true, []byte(`{"metadata":{"resourceVersion":"1"}}`)), c.flush()); err != nil {
			return err
		}
	}
}

func (c *tellerConn) answerHead() error {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	err := errors.Join(encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"}), encoder.WriteField(hpack.HeaderField{Name: "content-type", Value: jsonType}))
	return errors.Join(err, c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: block.Bytes(), EndHeaders: true}))
}

func (c *tellerConn) flush() error {
	defer c.out.Reset()
	if c.out.Len() == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out.Bytes())
	return err
}

// tellAll tells each put to all who watch, in the order in which they came.
func (t *teller) tellAll() {
	for put := range t.puts {
		event := fmt.Appendf(nil, `{"type":"MODIFIED","object":%s%s}`+"\n", put, t.padding)
		t.lock.Lock()
		watchers := t.watchers
		t.lock.Unlock()
		for _, c := range watchers {
			// Who has gone, has gone.
			_ = errors.Join(c.framer.WriteData(c.stream, false, event), c.flush())
		}
	}
}
