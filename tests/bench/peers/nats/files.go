package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	planRowBytes = 8
	flushEvery   = 50 * time.Millisecond
)

// planned says when a record is sent and when it is due, milliseconds after the start.
type planned struct {
	sendMs uint32
	dueMs  uint32
}

// readPlan reads the plan as harness/rows.py writes it.
func readPlan(path string) ([]planned, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data)%planRowBytes != 0 {
		return nil, fmt.Errorf("%s is not a plan: %d bytes", path, len(data))
	}
	plan := make([]planned, 0, len(data)/planRowBytes)
	for at := 0; at < len(data); at += planRowBytes {
		row := data[at : at+planRowBytes]
		plan = append(plan, planned{binary.LittleEndian.Uint32(row), binary.LittleEndian.Uint32(row[4:])})
	}
	return plan, nil
}

// readBodies reads one body a line.
func readBodies(path string) ([][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var bodies [][]byte
	for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		bodies = append(bodies, []byte(line))
	}
	return bodies, nil
}

// eventLog writes (record, wall clock in ms) as harness/rows.py reads it. May be used by many goroutines.
type eventLog struct {
	mutex  sync.Mutex
	file   *os.File
	buffer *bufio.Writer
}

func openEventLog(path string) (*eventLog, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	log := &eventLog{file: file, buffer: bufio.NewWriterSize(file, 1<<16)}
	go func() {
		for range time.Tick(flushEvery) {
			check(log.flush(), "write the log")
		}
	}()
	return log, nil
}

func (log *eventLog) add(n uint32, at time.Time) {
	var row [12]byte
	binary.LittleEndian.PutUint32(row[:], n)
	binary.LittleEndian.PutUint64(row[4:], uint64(at.UnixMilli()))
	log.mutex.Lock()
	defer log.mutex.Unlock()
	// A failure stays in the buffer, and the next flush tells it.
	log.buffer.Write(row[:])
}

func (log *eventLog) flush() error {
	log.mutex.Lock()
	defer log.mutex.Unlock()
	return log.buffer.Flush()
}
