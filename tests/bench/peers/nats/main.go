// The driver of NATS JetStream: sets up a stream, sends scheduled messages, or receives them. What it is told and what it says:
// tests/bench/peers/README.md, "Drivers".
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	numberHeader = "bench-n"
	// Publishes without an answer: the client stalls beyond it.
	pendingMax = 4_000
	stallMax   = 60 * time.Second
	ackMax     = 60 * time.Second
	// Messages received and not yet acknowledged.
	ackPendingMax = 20_000
	pullMessages  = 5_000
	apiMax        = 30 * time.Second
)

func main() {
	if len(os.Args) < 2 {
		check(fmt.Errorf("no role"), "start: setup, send or receive, then options as key=value")
	}
	options := map[string]string{}
	for _, argument := range os.Args[2:] {
		key, value, _ := strings.Cut(argument, "=")
		options[key] = value
	}
	connection, err := nats.Connect(options["server"], nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ReconnectJitter(0, 0))
	check(err, "connect")
	stream, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(pendingMax), jetstream.WithPublishAsyncTimeout(ackMax))
	check(err, "open JetStream")
	switch role := os.Args[1]; role {
	case "setup":
		setup(stream, options["queue"])
	case "send":
		send(stream, options)
	case "receive":
		receive(stream, options)
	default:
		check(fmt.Errorf("role %s", role), "start: setup, send or receive")
	}
}

func scheduleSubject(queue, record string) string { return "schedule." + queue + "." + record }
func dueSubject(queue string) string              { return "due." + queue }

func setup(stream jetstream.JetStream, queue string) {
	within, cancel := context.WithTimeout(context.Background(), apiMax)
	defer cancel()
	_, err := stream.CreateStream(within, jetstream.StreamConfig{
		Name:              queue,
		Subjects:          []string{scheduleSubject(queue, "*"), dueSubject(queue)},
		Storage:           jetstream.FileStorage,
		AllowMsgSchedules: true,
	})
	check(err, "create the stream")
	_, err = stream.CreateConsumer(within, queue, jetstream.ConsumerConfig{
		Durable:       queue,
		FilterSubject: dueSubject(queue),
		AckPolicy:     jetstream.AckExplicitPolicy,
		MaxAckPending: ackPendingMax,
	})
	check(err, "create the consumer")
	say("ready", true)
}

func receive(stream jetstream.JetStream, options map[string]string) {
	log, err := openEventLog(options["log"])
	check(err, "open the log")
	within, cancel := context.WithTimeout(context.Background(), apiMax)
	defer cancel()
	consumer, err := stream.Consumer(within, options["queue"], options["queue"])
	check(err, "find the consumer")
	consuming, err := consumer.Consume(func(message jetstream.Msg) {
		at := time.Now()
		n, err := strconv.ParseUint(message.Headers().Get(numberHeader), 10, 32)
		check(err, "read the record's number")
		log.add(uint32(n), at)
		// One that fails is delivered again, and counts as a duplicate.
		if err := message.Ack(); err != nil {
			fmt.Fprintln(os.Stderr, "acknowledge:", err)
		}
	}, jetstream.PullMaxMessages(pullMessages), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		fmt.Fprintln(os.Stderr, "receive:", err)
	}))
	check(err, "receive")
	say("ready", true)
	untilEndOfInput()
	consuming.Stop()
	check(log.flush(), "write the log")
}

// sent counts how the records fared.
type sent struct {
	Records      int    `json:"records"`
	Refused      int64  `json:"refused"`
	FirstRefusal string `json:"first_refusal,omitempty"`
	BehindMsMax  int64  `json:"behind_ms_max"`
}

func send(stream jetstream.JetStream, options map[string]string) {
	plan, err := readPlan(options["plan"])
	check(err, "read the plan")
	bodies, err := readBodies(options["bodies"])
	check(err, "read the bodies")
	log, err := openEventLog(options["log"])
	check(err, "open the log")
	say("ready", true)
	started := untilStart()
	result := sent{Records: len(plan)}
	var refused atomic.Int64
	var first sync.Once
	var waiting sync.WaitGroup
	refuse := func(err error) {
		refused.Add(1)
		first.Do(func() { result.FirstRefusal = err.Error() })
	}
	for n, record := range plan {
		moment := started.Add(time.Duration(record.sendMs) * time.Millisecond)
		time.Sleep(time.Until(moment))
		result.BehindMsMax = max(result.BehindMsMax, time.Since(moment).Milliseconds())
		due := started.Add(time.Duration(record.dueMs) * time.Millisecond)
		future, err := stream.PublishMsgAsync(scheduled(options["queue"], n, due, bodies[n%len(bodies)]), jetstream.WithStallWait(stallMax))
		if err != nil {
			refuse(err)
			continue
		}
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			select {
			case <-future.Ok():
				log.add(uint32(n), time.Now())
			case err := <-future.Err():
				refuse(err)
			}
		}()
	}
	waiting.Wait()
	check(log.flush(), "write the log")
	result.Refused = refused.Load()
	say("sent", result)
	untilEndOfInput()
}

// scheduled is a message for its due time, to the millisecond. Not by jetstream.WithScheduleAt: that cuts the time to whole seconds.
// A subject holds one schedule, so each record has its own.
func scheduled(queue string, n int, due time.Time, body []byte) *nats.Msg {
	number := strconv.Itoa(n)
	message := nats.NewMsg(scheduleSubject(queue, number))
	message.Header.Set("Nats-Schedule", "@at "+due.UTC().Format(time.RFC3339Nano))
	message.Header.Set("Nats-Schedule-Target", dueSubject(queue))
	message.Header.Set(numberHeader, number)
	message.Data = body
	return message
}

// input is read by both functions below, so that no line is lost between them.
var input = bufio.NewReader(os.Stdin)

// untilStart waits for the line `start <ms since the epoch>` and then for that moment.
func untilStart() time.Time {
	line, err := input.ReadString('\n')
	check(err, "wait for the start")
	ms, err := strconv.ParseInt(strings.TrimPrefix(strings.TrimSpace(line), "start "), 10, 64)
	check(err, "read the start")
	started := time.UnixMilli(ms)
	time.Sleep(time.Until(started))
	// Without a monotonic part, so that all times are differences of the wall clock.
	go func() {
		io.Copy(io.Discard, input)
		os.Exit(0)
	}()
	return started
}

func untilEndOfInput() {
	if os.Args[1] == "send" {
		select {} // The reader that untilStart left behind ends the process.
	}
	io.Copy(io.Discard, input)
}

func say(key string, value any) {
	line, err := json.Marshal(map[string]any{key: value})
	check(err, "say "+key)
	fmt.Println(string(line))
}

// check ends the driver with a reason.
func check(err error, doing string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "driver: cannot %s: %v\n", doing, err)
		os.Exit(1)
	}
}
